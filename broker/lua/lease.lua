-- Lease one job by its id, for a stock arq worker that has already picked it.
-- KEYS: queue, leases, crashes
-- ARGV: job id, token, lease in ms
-- Returns 1 if it is the caller's now, 0 if it is gone or somebody else's.
local queue, leases, crashes, job_id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local now_ms = server_now_ms()
local due_ms = tonumber(redis.call('ZSCORE', queue, job_id) or math.huge)
if due_ms > now_ms then
  return 0
end
if redis.call('HEXISTS', leases, job_id) == 1 then
  redis.call('HINCRBY', crashes, job_id, 1)
end
redis.call('ZADD', queue, digits(now_ms + tonumber(ARGV[3])), job_id)
redis.call('HSET', leases, job_id, ARGV[2])
return 1
