-- Renew the leases of jobs that are still running.
-- KEYS: queue, leases, next lapse
-- ARGV: lease in ms, then for each job: id, token
-- Returns the ids of the jobs that are no longer the caller's.
local queue, leases, next_lapse = KEYS[1], KEYS[2], KEYS[3]
local until_ms = server_now_ms() + tonumber(ARGV[1])
local lost = {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', leases, ARGV[i]) == ARGV[i + 1] then
    redis.call('ZADD', queue, 'XX', digits(until_ms), ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
note_lease(next_lapse, until_ms)
return lost
