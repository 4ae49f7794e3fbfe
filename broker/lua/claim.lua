-- Claim up to `count` due jobs: their score moves to now + lease, and the token is theirs until somebody else claims them.
-- KEYS: queue, leases, crashes, suspects, next lapse, idle
-- ARGV: job prefix, count, lease in ms, token, crashes that make a suspect, '1' if a suspect may be among them, worker, the
--       claim that is to stand if nothing is due (see admit.lua) or '', '1' if one stands already as far as the worker knows
-- Returns ms until the next job is due (0 now, -1 never); the ids; the jobs (false where one is gone); 1 if the worker's claim
-- stands; 1 if a suspect waits; and for each job how many crashes it has seen, if any has seen one.
--
-- A due job that still has a holder is one whose worker died: that is counted as a crash. The lease has left it a score
-- behind all that came meanwhile, so such jobs are looked for as soon as a lease may have lapsed, and put first in line.
--
-- Most crashes are the machine's: what crashed once runs with all others. What crashed twice is a suspect. A claim that may
-- have a suspect takes that one alone: whatever dies beside an event that kills its worker would otherwise be convicted with
-- it. The other suspects are put aside, out of the way of fresh jobs. They need not wait for their new moment: the next claim
-- that may have a suspect takes one of those first, so that it runs as soon as the one before is settled.
--
-- A worker takes no more than it has places for: its standing claim is withdrawn before it claims anything. If that is gone
-- already, events were pushed to it: it is to wait for those and ask again.
local queue, leases, crashes, suspects, next_lapse, idle = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, count, lease_ms, token = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local suspect_crashes, suspect_wanted = tonumber(ARGV[5]), ARGV[6] == '1'
local worker, standing, stands_already = ARGV[7], ARGV[8], ARGV[9] == '1'
local SUSPECT_WAIT_MS = 1000
local MOST_PUT_ASIDE = 1000 -- bounds how long the script keeps the server busy
local LAPSE_LOOK_MS = 250 -- at most so often are all leases looked at
local now_ms = server_now_ms()
local any_crashes = redis.call('EXISTS', crashes) == 1
local any_suspects = any_crashes and redis.call('EXISTS', suspects) == 1
local taken, seen_by_taken = {}, {}

local function ms_until_due()
  local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return head[2] and math.max(0, math.floor(tonumber(head[2])) - now_ms) or -1
end

-- The lapsed leases as pairs of id and score, the longest lapsed first; and when the next one lapses, or nil.
local function look_at_leases()
  local lapsed, next_ms = {}, nil
  local job_ids = redis.call('HKEYS', leases)
  for first = 1, #job_ids, 1000 do
    local last = math.min(first + 999, #job_ids)
    local scores = redis.call('ZMSCORE', queue, unpack(job_ids, first, last))
    for i = first, last do
      local score = tonumber(scores[i - first + 1] or nil)
      if score and score > now_ms then
        next_ms = math.min(next_ms or score, score)
      elseif score and score > FIRST_IN_LINE then
        lapsed[#lapsed + 1] = { job_ids[i], score }
      end
    end
  end
  table.sort(lapsed, function(a, b)
    return a[2] < b[2] or a[2] == b[2] and a[1] < b[1]
  end)
  return lapsed, next_ms
end

local function put_lapsed_first()
  local noted = redis.pcall('GET', next_lapse)
  local noted_ms = type(noted) == 'string' and tonumber(noted)
  if noted == false or noted_ms and noted_ms > now_ms then
    return
  end
  local lapsed, next_ms = look_at_leases()
  local scores = {}
  for place, job in ipairs(lapsed) do
    scores[2 * place - 1], scores[2 * place] = score_first_in_line(now_ms, place), job[1]
  end
  call_in_chunks('ZADD', queue, scores)
  if next_ms then
    redis.call('SET', next_lapse, digits(math.max(next_ms, now_ms + LAPSE_LOOK_MS)))
  else
    redis.call('DEL', next_lapse)
  end
end

local function lease(job_ids)
  local until_ms = now_ms + lease_ms
  local scores, tokens = {}, {}
  for i, job_id in ipairs(job_ids) do
    scores[2 * i - 1], scores[2 * i] = digits(until_ms), job_id
    tokens[2 * i - 1], tokens[2 * i] = job_id, token
    taken[#taken + 1] = job_id
  end
  call_in_chunks('ZADD', queue, scores)
  call_in_chunks('HSET', leases, tokens)
  if #job_ids > 0 then
    note_lease(next_lapse, until_ms)
  end
end

-- A suspect that was put aside has no other reason to wait.
local function take_waiting_suspect()
  local first = redis.call('ZRANGE', suspects, 0, 0)[1]
  while first do
    redis.call('ZREM', suspects, first)
    if redis.call('ZSCORE', queue, first) then
      seen_by_taken[1] = whole(redis.call('HGET', crashes, first), 0)
      lease({ first })
      return
    end
    first = redis.call('ZRANGE', suspects, 0, 0)[1] -- an operator has removed the one before
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
    seen[i] = whole(seen[i], 0)
    if holders[i] then
      seen[i] = seen[i] + 1
      redis.call('HSET', crashes, job_id, seen[i])
    end
  end
  return seen
end

local function put_aside(job_ids)
  if #job_ids == 0 then
    return
  end
  local last = redis.call('ZRANGE', suspects, -1, -1, 'WITHSCORES')
  local place = tonumber(last[2] or 0)
  local due = {}
  for i, job_id in ipairs(job_ids) do
    due[2 * i - 1], due[2 * i] = digits(now_ms + SUSPECT_WAIT_MS), job_id
    redis.call('ZADD', suspects, 'NX', place + i, job_id)
  end
  call_in_chunks('ZADD', queue, due)
  call_in_chunks('HDEL', leases, job_ids)
end

-- Take one suspect alone, if one is wanted and among these; otherwise all but the suspects. Returns how many were put aside.
local function take_suspect_or_others(job_ids, seen)
  local suspect, others, others_seen, aside = nil, {}, {}, {}
  for i, job_id in ipairs(job_ids) do
    if seen[i] < suspect_crashes then
      others[#others + 1], others_seen[#others_seen + 1] = job_id, seen[i]
    elseif suspect_wanted and not suspect then
      suspect, seen_by_taken = job_id, { seen[i] }
    else
      aside[#aside + 1] = job_id
    end
  end
  put_aside(aside)
  if suspect then
    call_in_chunks('HDEL', leases, others) -- their crash is counted, and nobody has them
    lease({ suspect })
    return 0
  end
  for i = 1, #others do
    seen_by_taken[#seen_by_taken + 1] = others_seen[i]
  end
  lease(others)
  return #aside
end

-- Returns how many were put aside; then others may be due behind them.
local function take_due(most)
  local due = redis.call('ZRANGEBYSCORE', queue, '-inf', due_by(now_ms), 'LIMIT', 0, most)
  if #due == 0 then
    return 0
  end
  local seen = crashes_of(due)
  if seen then
    return take_suspect_or_others(due, seen)
  end
  lease(due)
  return 0
end

put_lapsed_first()
if stands_already then
  local next_due_ms = ms_until_due()
  if next_due_ms ~= 0 and not any_suspects then
    return { next_due_ms, {}, {}, 1, 0 }
  elseif redis.call('HDEL', idle, worker) == 0 then
    return { next_due_ms, {}, {}, 0, 0 }
  end
end
if any_suspects and suspect_wanted then
  take_waiting_suspect()
end
local aside, before = 0, #taken == 0 and -1 or 0
while #taken < count and aside > before and aside < MOST_PUT_ASIDE do
  before = aside
  aside = aside + take_due(count - #taken)
end
local jobs, job_keys = {}, {}
for i, job_id in ipairs(taken) do
  job_keys[i] = job_prefix .. job_id
end
if #taken > 0 then
  jobs = redis.call('MGET', unpack(job_keys))
end
local next_due_ms, stands = ms_until_due(), 0
local suspect_waits = any_crashes and redis.call('EXISTS', suspects) or 0
if #taken == 0 and next_due_ms ~= 0 and suspect_waits == 0 and standing ~= '' then
  redis.call('HSET', idle, worker, standing)
  stands = 1
end
return { next_due_ms, taken, jobs, stands, suspect_waits, #taken > 0 and any_crashes and seen_by_taken or nil }
