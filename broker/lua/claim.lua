-- Claim up to `count` due jobs: their score moves to now + lease, and the token is theirs until somebody else claims them.
-- KEYS: queue, leases, crashes, idle
-- ARGV: job prefix, count, lease in ms, token, '1' if a suspect may be among them, worker, the claim that is to
--       stand if nothing is due (see admit.lua) or '', '1' if one stands already as far as the worker knows
-- Returns ms until the next job is due (0 now, -1 never); the ids; the jobs (false where one is gone); 1 if the worker's claim
-- stands; and for each job how many crashes it has seen, if there are suspects at all.
--
-- A due job that still has a holder is one whose worker died: that is counted as a crash, and makes it a suspect. A worker
-- runs at most one suspect at a time: whatever dies beside an event that kills its worker would otherwise be blamed with it.
-- The others are put aside, out of the way of fresh jobs. They need not wait for their new moment: a claim that may have a
-- suspect takes one of those first, so that the next one runs as soon as the one before is settled.
--
-- A worker takes no more than it has places for: its standing claim is withdrawn before it claims anything. If that is gone
-- already, events were pushed to it: it is to wait for those and ask again.
local queue, leases, crashes, idle = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job_prefix, count, lease_ms, token = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local suspect_wanted = ARGV[5] == '1'
local worker, standing, stands_already = ARGV[6], ARGV[7], ARGV[8] == '1'
local SUSPECT_WAIT_MS = 1000
local SUSPECTS_ASKED = 32 -- at random; unfit are only those that other workers hold
local MOST_PUT_ASIDE = 1000 -- bounds how long the script keeps the server busy
local now_ms = server_now_ms()
local any_crashes = redis.call('EXISTS', crashes) == 1
local taken, seen_by_taken = {}, {}

local function ms_until_due()
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return head[2] and math.max(0, tonumber(head[2]) - now_ms) or -1
end

local function lease(job_ids)
  local until_ms = digits(now_ms + lease_ms)
  local scores, tokens = {}, {}
  for i, job_id in ipairs(job_ids) do
    scores[2 * i - 1], scores[2 * i] = until_ms, job_id
    tokens[2 * i - 1], tokens[2 * i] = job_id, token
    taken[#taken + 1] = job_id
  end
  call_in_chunks('ZADD', queue, scores)
  call_in_chunks('HSET', leases, tokens)
end

-- A suspect that nobody holds was put aside or released: it has no other reason to wait.
local function take_waiting_suspect()
  local known = redis.call('HRANDFIELD', crashes, SUSPECTS_ASKED)
  local holders = redis.call('HMGET', leases, unpack(known))
  local scores = redis.call('ZMSCORE', queue, unpack(known))
  local first, first_score
  for i, job_id in ipairs(known) do
    local score = not holders[i] and scores[i] and tonumber(scores[i])
    if score and (not first or score < first_score or score == first_score and job_id < first) then
      first, first_score = job_id, score
    end
  end
  if first then
    seen_by_taken[1] = tonumber(redis.call('HGET', crashes, first))
    lease({ first })
    suspect_wanted = false
  end
end

-- The crashes that each of these jobs has seen, this one included; nil if it is none, as it nearly always is.
local function crashes_of(job_ids)
  local holders = redis.call('HMGET', leases, unpack(job_ids))
  for i = 1, #job_ids do
    any_crashes = any_crashes or holders[i]
  end
  if not any_crashes then
    return nil
  end
  local seen = redis.call('HMGET', crashes, unpack(job_ids))
  for i, job_id in ipairs(job_ids) do
    seen[i] = holders[i] and redis.call('HINCRBY', crashes, job_id, 1) or tonumber(seen[i] or 0)
  end
  return seen
end

-- Take these, but of the suspects one or none; returns how many were put aside.
local function take_without_suspects(job_ids, seen)
  local chosen, aside, aside_scores = {}, {}, {}
  for i, job_id in ipairs(job_ids) do
    if seen[i] > 0 and not suspect_wanted then
      aside[#aside + 1] = job_id
      aside_scores[#aside_scores + 1] = digits(now_ms + SUSPECT_WAIT_MS)
      aside_scores[#aside_scores + 1] = job_id
    else
      suspect_wanted = suspect_wanted and seen[i] == 0
      chosen[#chosen + 1] = job_id
      seen_by_taken[#seen_by_taken + 1] = seen[i]
    end
  end
  call_in_chunks('ZADD', queue, aside_scores)
  call_in_chunks('HDEL', leases, aside)
  lease(chosen)
  return #aside
end

-- Returns how many were put aside; then others may be due behind them.
local function take_due(most)
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', digits(now_ms), 'LIMIT', 0, most)
  if #due == 0 then
    return 0
  end
  local seen = crashes_of(due)
  if seen then
    return take_without_suspects(due, seen)
  end
  lease(due)
  return 0
end

if stands_already then
  local next_due_ms = ms_until_due()
  if next_due_ms ~= 0 and not any_crashes then
    return { next_due_ms, {}, {}, 1 }
  elseif redis.call('HDEL', idle, worker) == 0 then
    return { next_due_ms, {}, {}, 0 }
  end
end
if any_crashes and suspect_wanted then
  take_waiting_suspect()
end
local put_aside, before = 0, -1
while #taken < count and put_aside > before and put_aside < MOST_PUT_ASIDE do
  before = put_aside
  put_aside = put_aside + take_due(count - #taken)
end
local jobs, job_keys = {}, {}
for i, job_id in ipairs(taken) do
  job_keys[i] = job_prefix .. job_id
end
if #taken > 0 then
  jobs = redis.call('MGET', unpack(job_keys))
end
local next_due_ms, stands = ms_until_due(), 0
if #taken == 0 and next_due_ms ~= 0 and standing ~= '' then
  redis.call('HSET', idle, worker, standing)
  stands = 1
end
return { next_due_ms, taken, jobs, stands, #taken > 0 and any_crashes and seen_by_taken or nil }
