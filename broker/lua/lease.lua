-- Lease one job by its id, for a stock arq worker that has already picked it.
-- KEYS: queue, leases, crashes, suspects, next lapse
-- ARGV: job id, token, lease in ms
-- Returns 1 if it is the caller's now, 0 if it is gone or somebody else's.
local queue, leases, crashes, suspects, next_lapse = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job_id = ARGV[1]
local now_ms = server_now_ms()
local until_ms = now_ms + tonumber(ARGV[3])
local due_ms = tonumber(redis.call('ZSCORE', queue, job_id) or math.huge)
if due_ms >= now_ms + 1 then
  return 0
end
if redis.call('HEXISTS', leases, job_id) == 1 then
  redis.call('HSET', crashes, job_id, whole(redis.call('HGET', crashes, job_id), 0) + 1)
end
redis.call('ZADD', queue, digits(until_ms), job_id)
redis.call('HSET', leases, job_id, ARGV[2])
redis.call('ZREM', suspects, job_id)
note_lease(next_lapse, until_ms)
return 1
