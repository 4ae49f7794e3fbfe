-- Release the keys of `ctx.once` blocks that did not come to their end.
-- KEYS: the keys
-- ARGV: for each key: what the block wrote there
-- Returns how many were released; what somebody else has taken meanwhile is theirs.
local released = 0
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then
    released = released + redis.call('DEL', key)
  end
end
return released
