-- Throw dead letters away: an operator's explicit act, counted as such.
-- KEYS: ledger, dead, dead index
-- ARGV: delivery prefix, retention of outcomes in ms, then for each letter: its id, delivery id
-- Returns how many were still there.
local ledger, dead, dead_index = KEYS[1], KEYS[2], KEYS[3]
local delivery_prefix, retention_ms = ARGV[1], ARGV[2]
local dropped = 0
ask('HLEN', ledger, dead)
ask('ZCARD', dead_index)
for i = 3, #ARGV, 2 do
  local letter_id, delivery_key = ARGV[i], delivery_prefix .. ARGV[i + 1]
  if redis.call('HDEL', dead, letter_id) == 1 then
    redis.call('ZREM', dead_index, letter_id)
    local state = call_on(delivery_key, 'HMGET', '.open', '.dead')
    local open_now, dead_now = whole(state[1], 1), whole(state[2], 1) - 1
    redis.call('HSET', delivery_key, '.dropped', 1, '.dead', dead_now)
    if dead_now == 0 and open_now == 0 then
      add(ledger, 'dead', -1)
      add(ledger, 'dropped', 1)
      redis.call('PEXPIRE', delivery_key, retention_ms)
    end
    dropped = dropped + 1
  end
end
return dropped
