-- Keep under another name what stands at our keys and is of another type than ours.
-- KEYS: our keys
-- ARGV: what to append to the name of one that is set aside, then for each key the type that is ours
-- Returns for each one that was set aside: its name, its type, its new name.
local moved = {}

-- A log whose last id is the last that there is takes no more entries.
local function is_exhausted(key, kind)
  if kind ~= 'stream' or redis.call('TYPE', key).ok ~= kind then
    return false
  end
  local facts = redis.call('XINFO', 'STREAM', key)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then
      return #string.match(facts[i + 1], '^%d+') > 15
    end
  end
  return false
end

for i, key in ipairs(KEYS) do
  local kind, ours = redis.call('TYPE', key).ok, ARGV[i + 1]
  if kind ~= 'none' and kind ~= ours or is_exhausted(key, ours) then
    local name = key .. ARGV[1]
    redis.call('RENAME', key, name)
    moved[#moved + 1] = { key, kind, name }
  end
end
return moved
