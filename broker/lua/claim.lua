-- Claim up to `count` due jobs: their score moves to now + lease, and the token is theirs until somebody else claims them.
-- KEYS: queue, leases, crashes
-- ARGV: job prefix, count, lease in ms, token, '1' if a suspect may be among them
-- Returns ms until the next job is due (0 now, -1 never); the ids; the jobs (false where one is gone); and if any of them
-- is a suspect, for each how many crashes it has seen.
--
-- A due job that still has a holder is one whose worker died: that is counted as a crash, and makes it a suspect. A worker
-- runs at most one suspect at a time: whatever dies beside an event that kills its worker would otherwise be blamed with it.
local queue, leases, crashes = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, count, lease_ms, token, suspect_wanted = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local SUSPECT_WAIT_MS = 100
local now_ms = server_now_ms()

-- The crashes that each of these jobs has seen, this one included; nil if it is none, as it nearly always is.
local function crashes_of(job_ids)
  local holders = redis.call('HMGET', leases, unpack(job_ids))
  local any = redis.call('EXISTS', crashes) == 1
  for i = 1, #job_ids do
    any = any or holders[i]
  end
  if not any then
    return nil
  end
  local seen = redis.call('HMGET', crashes, unpack(job_ids))
  for i, job_id in ipairs(job_ids) do
    seen[i] = holders[i] and redis.call('HINCRBY', crashes, job_id, 1) or tonumber(seen[i] or 0)
  end
  return seen
end

-- Without the suspects but one, or but none: those are left for a moment later.
local function without_suspects(job_ids, seen)
  local taken, seen_by_taken, waiting, wait_scores = {}, {}, {}, {}
  for i, job_id in ipairs(job_ids) do
    if seen[i] > 0 and not suspect_wanted then
      waiting[#waiting + 1] = job_id
      wait_scores[#wait_scores + 1] = digits(now_ms + SUSPECT_WAIT_MS)
      wait_scores[#wait_scores + 1] = job_id
    else
      suspect_wanted = suspect_wanted and seen[i] == 0
      taken[#taken + 1] = job_id
      seen_by_taken[#seen_by_taken + 1] = seen[i]
    end
  end
  call_in_chunks('ZADD', queue, wait_scores)
  call_in_chunks('HDEL', leases, waiting)
  return taken, seen_by_taken
end

local function take(job_ids)
  local until_ms = digits(now_ms + lease_ms)
  local scores, tokens, job_keys = {}, {}, {}
  for i, job_id in ipairs(job_ids) do
    scores[2 * i - 1], scores[2 * i] = until_ms, job_id
    tokens[2 * i - 1], tokens[2 * i] = job_id, token
    job_keys[i] = job_prefix .. job_id
  end
  call_in_chunks('ZADD', queue, scores)
  call_in_chunks('HSET', leases, tokens)
  return redis.call('MGET', unpack(job_keys))
end

local due = redis.call('ZRANGEBYSCORE', queue, '-inf', digits(now_ms), 'LIMIT', 0, count)
local seen, jobs = nil, {}
if #due > 0 then
  seen = crashes_of(due)
  if seen then
    due, seen = without_suspects(due, seen)
  end
  if #due > 0 then
    jobs = take(due)
  end
end
local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
local next_due_ms = head[2] and math.max(0, tonumber(head[2]) - now_ms) or -1
return { next_due_ms, due, jobs, seen }
