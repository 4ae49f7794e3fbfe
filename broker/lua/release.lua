-- Release jobs unfinished: they are due now, before all that has never run, and neither an attempt nor a crash is counted.
-- KEYS: queue, leases
-- ARGV: wake channel, then for each job: id, token
-- Returns how many were released.
local queue, leases, wake_channel = KEYS[1], KEYS[2], ARGV[1]
local now_ms = server_now_ms()
local released = 0
for i = 2, #ARGV, 2 do
  if redis.call('HGET', leases, ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', queue, 'XX', score_first_in_line(now_ms, released), ARGV[i])
    redis.call('HDEL', leases, ARGV[i])
    released = released + 1
  end
end
if released > 0 then
  redis.call('PUBLISH', wake_channel, released)
end
return released
