-- When a worker may hold jobs that it does not know of: renew what it knows of, release what it was leased in an answer or a
-- push that it never got, and withdraw its standing claim.
-- KEYS: queue, leases, idle, next lapse
-- ARGV: worker, with whose name and a colon its tokens start, lease in ms, then each job id that it holds
-- Returns how many were released.
local queue, leases, idle, next_lapse = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, lease_ms = ARGV[1] .. ':', tonumber(ARGV[2])
local now_ms = server_now_ms()
local until_ms = now_ms + lease_ms
local held, released = {}, 0
for i = 3, #ARGV do
  held[ARGV[i]] = true
end
redis.call('HDEL', idle, ARGV[1])
local holders = redis.call('HGETALL', leases)
for i = 1, #holders, 2 do
  local job_id, token = holders[i], holders[i + 1]
  if string.sub(token, 1, #prefix) == prefix then
    if held[job_id] then
      redis.call('ZADD', queue, 'XX', digits(until_ms), job_id)
    else
      redis.call('ZADD', queue, 'XX', score_first_in_line(now_ms, released), job_id)
      redis.call('HDEL', leases, job_id)
      released = released + 1
    end
  end
end
note_lease(next_lapse, until_ms)
return released
