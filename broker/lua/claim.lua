-- Claim up to `count` due jobs: their score moves to now + lease, and the token is theirs until somebody else claims them.
-- KEYS: queue, leases, crashes
-- ARGV: job prefix, count, lease in ms, token, '1' if a suspect may be among them
-- Returns ms until the next job is due (0 now, -1 never), then for each job: id, crashes so far, job (false if it is gone).
--
-- A due job that still has a holder is one whose worker died: that is counted as a crash, and makes it a suspect. A worker
-- runs at most one suspect at a time: whatever dies beside an event that kills its worker would otherwise be blamed with it.
local queue, leases, crashes = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, count, lease_ms, token, suspect_wanted = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local SUSPECT_WAIT_MS = 100
local now_ms = server_now_ms()

local due = redis.call('ZRANGEBYSCORE', queue, '-inf', digits(now_ms), 'LIMIT', 0, count)
local reply = { 0 }
if #due > 0 then
  local holders = redis.call('HMGET', leases, unpack(due))
  local any_crashes = redis.call('HLEN', crashes) > 0
  local until_ms, wait_until_ms = digits(now_ms + lease_ms), digits(now_ms + SUSPECT_WAIT_MS)
  local scores, tokens, job_keys, taken, waiting = {}, {}, {}, {}, {}
  for i, job_id in ipairs(due) do
    local crashed = 0
    if holders[i] then
      crashed = redis.call('HINCRBY', crashes, job_id, 1)
    elseif any_crashes then
      crashed = tonumber(redis.call('HGET', crashes, job_id) or 0)
    end
    if crashed > 0 and not suspect_wanted then
      scores[#scores + 1] = wait_until_ms
      waiting[#waiting + 1] = job_id
    else
      if crashed > 0 then
        suspect_wanted = false
      end
      scores[#scores + 1] = until_ms
      tokens[#tokens + 1] = job_id
      tokens[#tokens + 1] = token
      job_keys[#job_keys + 1] = job_prefix .. job_id
      taken[#taken + 1] = { job_id, crashed }
    end
    scores[#scores + 1] = job_id
  end
  call_in_chunks('ZADD', queue, scores)
  if #waiting > 0 then
    call_in_chunks('HDEL', leases, waiting)
  end
  if #taken > 0 then
    call_in_chunks('HSET', leases, tokens)
    local jobs = redis.call('MGET', unpack(job_keys))
    for i, entry in ipairs(taken) do
      reply[#reply + 1] = entry[1]
      reply[#reply + 1] = entry[2]
      reply[#reply + 1] = jobs[i]
    end
  end
end

local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
reply[1] = head[2] and math.max(0, tonumber(head[2]) - now_ms) or -1
return reply
