-- Settle a batch of claimed jobs: outcomes, follow-up jobs, dead letters, counts. Each job's part is all or nothing.
-- KEYS: queue, leases, crashes, ledger, dead, dead index
-- ARGV: job prefix, delivery prefix, retention of outcomes in ms, then for each job:
--       job id, token, delivery id,
--       number of outcomes, for each: handler, outcome
--       number of follow-up jobs, for each: job id, job, delay in ms
--       number of dead letters, for each: dead letter id, letter
-- Returns the ids of the jobs whose lease had passed to somebody else: nothing was written for those.
local queue, leases, crashes, ledger, dead, dead_index = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, delivery_prefix, retention_ms = ARGV[1], ARGV[2], ARGV[3]
local now_ms = server_now_ms()
local position = 3
local counts = { delivered = 0, dead = 0, dropped = 0, extra = 0 }
local fenced, gone = {}, {}

local function take()
  position = position + 1
  return ARGV[position]
end

while position < #ARGV do
  local job_id, token, delivery_key = take(), take(), delivery_prefix .. take()
  local held = redis.call('HGET', leases, job_id) == token
  if held then
    gone[#gone + 1] = job_id
    redis.call('ZREM', queue, job_id)
    redis.call('DEL', job_prefix .. job_id)
  else
    fenced[#fenced + 1] = job_id
  end

  local outcomes = {}
  for _ = 1, tonumber(take()) * 2 do
    outcomes[#outcomes + 1] = take()
  end

  local follow_ups = tonumber(take())
  for _ = 1, follow_ups do
    local id, job, delay_ms = take(), take(), tonumber(take())
    if held then
      redis.call('SET', job_prefix .. id, job)
      redis.call('ZADD', queue, digits(now_ms + delay_ms), id)
    end
  end

  local letters = tonumber(take())
  for _ = 1, letters do
    local id, letter = take(), take()
    if held then
      redis.call('HSET', dead, id, letter)
      redis.call('ZADD', dead_index, digits(now_ms), id)
    end
  end

  if held then
    -- A delivery starts as one open job and no dead letter; only what differs from that is written down.
    local state = redis.call('HMGET', delivery_key, '.open', '.dead', '.dropped')
    local open_before, dead_before = tonumber(state[1] or 1), tonumber(state[2] or 0)
    local open_now, dead_now = open_before - 1 + follow_ups, dead_before + letters
    counts.extra = counts.extra - (open_before - 1) + math.max(open_now - 1, 0)
    -- Nor may it be that nothing is (no handler matched): what has left no trace is taken for lost.
    if open_now ~= open_before and (state[1] or open_now > 0 or dead_now > 0 or #outcomes == 0) then
      outcomes[#outcomes + 1] = '.open'
      outcomes[#outcomes + 1] = open_now
    end
    if letters > 0 then
      outcomes[#outcomes + 1] = '.dead'
      outcomes[#outcomes + 1] = dead_now
    end
    if #outcomes > 0 then
      redis.call('HSET', delivery_key, unpack(outcomes))
    end
    if open_now == 0 then
      local verdict = dead_now > 0 and 'dead' or state[3] and 'dropped' or 'delivered'
      counts[verdict] = counts[verdict] + 1
      if verdict ~= 'dead' then
        redis.call('PEXPIRE', delivery_key, retention_ms)
      end
    end
  end
end

if #gone > 0 then
  call_in_chunks('HDEL', leases, gone)
  call_in_chunks('HDEL', crashes, gone)
end
for name, count in pairs(counts) do
  if count ~= 0 then
    redis.call('HINCRBY', ledger, name, count)
  end
end
return fenced
