-- Settle claimed jobs: outcomes, follow-up jobs, dead letters, counts.
-- KEYS: queue, leases, crashes, ledger, dead, dead index
-- ARGV: job prefix, delivery prefix, retention of outcomes in ms,
--       number of groups of plain jobs, for each: token, key of outcomes, number of jobs, that many job ids, and outcomes
--       then for each other job:
--       job id, token, delivery id,
--       the keys by which the event is known if it was admitted, or '' twice where nobody doubts that
--       number of outcomes, for each: handler, outcome
--       number of follow-up jobs, for each: job id, job, delay in ms
--       number of dead letters, for each: dead letter id, letter
-- Returns the ids of the jobs whose lease had passed to somebody else: nothing was written for those; and of the plain
-- jobs that have left a trace before: nothing was written for those either, they are to come again as other jobs.
--
-- A plain job is the first and only one of its delivery, and nothing follows it: nearly all of them. Those of one claim
-- are settled together, and their outcomes go to a hash that they share: two commands fewer an event, which is more than
-- all that Lua does.
--
-- A script that fails is not rolled back. So whatever can be refused (a key that somebody made another type of) is asked
-- or written first in each job or group, and its counts and its moves stand together behind that: what was settled before
-- the failure is settled and counted, and the rest is still leased, and comes again.
local queue, leases, crashes, ledger, dead, dead_index = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, delivery_prefix, retention_ms, groups = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now_us = server_now_us()
local now_ms = math.floor(now_us / 1000)
local any_crashes = redis.call('HLEN', crashes) > 0
ask('HLEN', leases, ledger, dead)
ask('ZCARD', queue, dead_index)
local position = 4
local fenced, in_full = {}, {}

local function take()
  position = position + 1
  return ARGV[position]
end

local function count(name, by)
  if by ~= 0 then
    add(ledger, name, by)
  end
end

-- outcomes: flat pairs of handler and outcome; follow_ups: flat triples; letters: flat pairs.
local function settle(job_id, token, delivery_key, seen_key, replays_key, outcomes, follow_ups, letters)
  if redis.call('HGET', leases, job_id) ~= token then
    fenced[#fenced + 1] = job_id
    return
  end
  -- What nobody has admitted, and somebody has queued, is counted when it becomes a dead letter.
  if seen_key ~= '' and redis.call('EXISTS', seen_key, replays_key, delivery_key) == 0 then
    add(ledger, 'accepted', 1)
  end
  -- A delivery starts as one open job and no dead letter; only what differs from that is written down.
  local state = call_on(delivery_key, 'HMGET', '.open', '.dead', '.dropped')
  local open_before, dead_before = whole(state[1], 1), whole(state[2], 0)
  local open_now, dead_now = open_before - 1 + #follow_ups / 3, dead_before + #letters / 2
  -- Nor may it be that nothing is (no handler matched): what has left no trace is taken for lost.
  if open_now ~= open_before and (state[1] or open_now > 0 or dead_now > 0 or #outcomes == 0) then
    outcomes[#outcomes + 1] = '.open'
    outcomes[#outcomes + 1] = open_now
  end
  if #letters > 0 then
    outcomes[#outcomes + 1] = '.dead'
    outcomes[#outcomes + 1] = dead_now
  end

  if #outcomes > 0 then
    redis.call('HSET', delivery_key, unpack(outcomes))
  end
  if open_now == 0 and dead_now == 0 then
    redis.call('PEXPIRE', delivery_key, retention_ms)
  end
  count('extra', math.max(open_now - 1, 0) - (open_before - 1))
  if open_now == 0 then
    count(dead_now > 0 and 'dead' or state[3] and 'dropped' or 'delivered', 1)
  end
  redis.call('ZREM', queue, job_id)
  redis.call('HDEL', leases, job_id)
  redis.call('HDEL', crashes, job_id)
  redis.call('DEL', job_prefix .. job_id)
  for i = 1, #follow_ups, 3 do
    redis.call('SET', job_prefix .. follow_ups[i], follow_ups[i + 1])
    local due_us = now_us + tonumber(follow_ups[i + 2]) * 1000
    redis.call('ZADD', queue, score_in_order(due_us, i), follow_ups[i])
  end
  for i = 1, #letters, 2 do
    redis.call('HSET', dead, letters[i], letters[i + 1])
    redis.call('ZADD', dead_index, digits(now_ms), letters[i])
  end
end

local function settle_group(token, outcomes_key, jobs)
  local first, last = position + 1, position + jobs
  local holders = redis.call('HMGET', leases, unpack(ARGV, first, last))
  local delivery_keys = {}
  for i = 1, jobs do
    delivery_keys[i] = delivery_prefix .. ARGV[position + i]
  end
  local any_trace = redis.call('EXISTS', unpack(delivery_keys)) > 0
  local ours, job_keys, outcomes = {}, {}, {}
  for i = 1, jobs do
    local job_id = ARGV[position + i]
    if holders[i] ~= token then
      fenced[#fenced + 1] = job_id
    elseif any_trace and redis.call('EXISTS', delivery_keys[i]) == 1 then
      in_full[#in_full + 1] = job_id -- a dead letter that was tried again, say: it may have another verdict
    else
      local place = #ours + 1
      ours[place] = job_id
      job_keys[place] = job_prefix .. job_id
      outcomes[2 * place - 1], outcomes[2 * place] = job_id, ARGV[last + i]
    end
  end
  position = last + jobs
  if #ours == 0 then
    return
  end
  call_on(outcomes_key, 'HSET', unpack(outcomes))
  redis.call('PEXPIRE', outcomes_key, retention_ms)
  count('delivered', #ours)
  redis.call('ZREM', queue, unpack(ours))
  redis.call('HDEL', leases, unpack(ours))
  redis.call('DEL', unpack(job_keys))
  if any_crashes then
    redis.call('HDEL', crashes, unpack(ours))
  end
end

for _ = 1, groups do
  local token, outcomes_key = take(), take()
  settle_group(token, outcomes_key, tonumber(take()))
end
while position < #ARGV do
  local job_id, token, delivery_key = take(), take(), delivery_prefix .. take()
  local seen_key, replays_key = take(), take()
  local outcomes, follow_ups, letters = {}, {}, {}
  for i = 1, tonumber(take()) * 2 do
    outcomes[i] = take()
  end
  for i = 1, tonumber(take()) * 3 do
    follow_ups[i] = take()
  end
  for i = 1, tonumber(take()) * 2 do
    letters[i] = take()
  end
  settle(job_id, token, delivery_key, seen_key, replays_key, outcomes, follow_ups, letters)
end
return { fenced, in_full }
