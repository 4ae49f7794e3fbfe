-- Turn dead letters back into jobs, due now.
-- KEYS: queue, ledger, dead, dead index
-- ARGV: job prefix, delivery prefix, wake channel, then for each letter: its id, delivery id, job id, job
-- Returns how many were still there.
local queue, ledger, dead, dead_index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job_prefix, delivery_prefix, wake_channel = ARGV[1], ARGV[2], ARGV[3]
local now_us = server_now_us()
local retried = 0
ask('HLEN', ledger, dead)
ask('ZCARD', queue, dead_index)
for i = 4, #ARGV, 4 do
  local letter_id, delivery_key, job_id, job = ARGV[i], delivery_prefix .. ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('HDEL', dead, letter_id) == 1 then
    redis.call('ZREM', dead_index, letter_id)
    redis.call('SET', job_prefix .. job_id, job)
    redis.call('ZADD', queue, score_in_order(now_us, retried), job_id)
    -- Not written down is one open job: another handler of the delivery is still being retried.
    local state = call_on(delivery_key, 'HMGET', '.open', '.dead')
    local open_before, dead_before = whole(state[1], 1), whole(state[2], 1)
    redis.call('HSET', delivery_key, '.open', open_before + 1, '.dead', dead_before - 1)
    if open_before == 0 then
      add(ledger, 'dead', -1)
    else
      add(ledger, 'extra', 1)
    end
    retried = retried + 1
  end
end
if retried > 0 then
  redis.call('PUBLISH', wake_channel, retried)
end
return retried
