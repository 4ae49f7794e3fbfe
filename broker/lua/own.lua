-- Does the store belong to those who are known by these marks?
-- KEYS: owner
-- ARGV: 'look', 'note' (add what it does not know) or 'adopt' (from any installation), the salt of the marks, then each mark
-- Returns 1 if it does, 0 if it is another's, -1 if its salt is another one.
local owner, mode, salt = KEYS[1], ARGV[1], ARGV[2]
if redis.call('TYPE', owner).ok ~= 'hash' or mode == 'adopt' then
  if mode == 'look' then
    return 1
  end
  redis.call('DEL', owner)
end
local known = redis.call('HGET', owner, 'salt')
if known and known ~= salt then
  return -1
end
local marks, fields = { unpack(ARGV, 3) }, { 'salt', salt }
local ours = not known or redis.call('HLEN', owner) <= 1
for _, mark in ipairs(marks) do
  ours = ours or redis.call('HEXISTS', owner, mark) == 1
  fields[#fields + 1], fields[#fields + 2] = mark, 1
end
if ours and mode ~= 'look' then
  redis.call('HSET', owner, unpack(fields))
end
return ours and 1 or 0
