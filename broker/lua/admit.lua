-- Admit a batch of events: dedupe, log, store the job, queue it, count. All or nothing, as one write of the AOF.
-- KEYS: queue, log, ledger, leases, idle, next lapse
-- ARGV: job prefix, seen prefix, delivery prefix, replays prefix, wake channel, push prefix, dedupe window in ms,
--       log retention in ms, then for each event: event id, job id, job, '1' to dedupe or '0' (a replay)
-- Returns for each event 1 if it was accepted, 0 if it is a duplicate. Without any event it changes nothing, and is refused
-- where events would be.
local call = redis.call
local queue, log, ledger, leases, idle, next_lapse = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, seen_prefix, delivery_prefix, replays_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local wake_channel, push_prefix, dedupe_ms, retention_ms = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local FIRST = 9
local now_us = server_now_us()
local now_ms = math.floor(now_us / 1000)
local accepted, duplicates, answers = 0, 0, {}

-- Seen within the window; or longer ago, and still queued, being retried or dead: whatever is not settled has no time to
-- live. What is settled makes room for the event to be handled once more.
local function is_known(event_id, job_id)
  local seen_key, job_key, delivery_key = seen_prefix .. event_id, job_prefix .. job_id, delivery_prefix .. job_id
  if call('EXISTS', seen_key, job_key, delivery_key) == 0 then
    return false
  end
  if call('EXISTS', seen_key, job_key) > 0 or call('PTTL', delivery_key) == -1 then
    return true
  end
  call('DEL', delivery_key)
  return false
end

-- Nearly always nothing is known of any of them, which one command tells.
local function all_are_new()
  local names = {}
  for i = FIRST, #ARGV, 4 do
    local event_id, job_id = ARGV[i], ARGV[i + 1]
    names[#names + 1] = seen_prefix .. event_id
    names[#names + 1] = job_prefix .. job_id
    names[#names + 1] = delivery_prefix .. job_id
  end
  return #names == 0 or call('EXISTS', unpack(names)) == 0
end

-- Lease events to idle workers, and push the events to them. That saves the wake-up and the claim, which is a second write
-- to disk before the handler starts. A standing claim is good for one push. A worker that is gone does not hear the push:
-- its events are pushed to others, or stay in the queue. Returns how many were pushed.
local function push(fresh, workers)
  local pushed = 0
  while workers > 0 and pushed < #fresh do
    local worker, standing = unpack(call('HRANDFIELD', idle, 1, 'WITHVALUES'))
    call('HDEL', idle, worker)
    local places, lease_ms, token = string.match(standing, '^(%d+) (%d+) (%S+)$')
    -- What is no standing claim of ours has no places.
    local count = math.min(whole(places, 0), math.ceil((#fresh - pushed) / workers))
    local until_ms = now_ms + whole(lease_ms, 0)
    local scores, tokens, head, body = {}, {}, { token }, {}
    for n = 1, count do
      local i = fresh[pushed + n]
      scores[2 * n - 1], scores[2 * n] = digits(until_ms), ARGV[i + 1]
      tokens[2 * n - 1], tokens[2 * n] = ARGV[i + 1], token
      head[2 * n], head[2 * n + 1] = #ARGV[i + 1], #ARGV[i + 2]
      body[2 * n - 1], body[2 * n] = ARGV[i + 1], ARGV[i + 2]
    end
    if count > 0 then
      call('HSET', leases, unpack(tokens))
      call('ZADD', queue, unpack(scores))
    end
    local message = table.concat(head, ' ') .. '\n' .. table.concat(body)
    if count > 0 and call('PUBLISH', push_prefix .. worker, message) > 0 then
      note_lease(next_lapse, until_ms)
      pushed = pushed + count
    elseif count > 0 then
      for n = 1, count do
        scores[2 * n - 1] = score_in_order(now_us, pushed + n)
        call('HDEL', leases, ARGV[fresh[pushed + n] + 1])
      end
      call('ZADD', queue, unpack(scores))
    end
    workers = workers - 1
  end
  return pushed
end

-- The places in ARGV of those to be written; the others are answered.
local all_new, in_batch, fresh = all_are_new(), {}, {}
for i = FIRST, #ARGV, 4 do
  local event_id, job_id, dedupe = ARGV[i], ARGV[i + 1], ARGV[i + 3] == '1'
  local name = dedupe and event_id or job_id
  local answer = 1
  if dedupe and (in_batch[name] or not all_new and is_known(event_id, job_id)) then
    duplicates = duplicates + 1
    answer = 0
  elseif in_batch[name] or not dedupe and not all_new and call('EXISTS', job_prefix .. job_id) == 1 then
    answer = 1 -- the same call once more: the connection was lost before its answer came
  else
    in_batch[name] = true
    accepted = accepted + 1
    fresh[accepted] = i
  end
  answers[#answers + 1] = answer
end

if accepted > 0 then
  -- What can be refused (a key that somebody made another type of) stands first, and what makes an event known last: after
  -- a failure it can be sent again. One command for all where there is one: each costs as much as all that Lua does.
  local idle_workers, log_ids, queued, jobs = call('HLEN', idle), {}, {}, {}
  ask('HLEN', ledger, leases)
  ask('ZCARD', queue)
  for n, i in ipairs(fresh) do
    log_ids[n] = call('XADD', log, '*', 'job', ARGV[i + 2])
    queued[2 * n - 1], queued[2 * n] = score_in_order(now_us, n), ARGV[i + 1]
    jobs[2 * n - 1], jobs[2 * n] = job_prefix .. ARGV[i + 1], ARGV[i + 2]
  end
  call('ZADD', queue, unpack(queued))
  add(ledger, 'accepted', accepted)
  call('MSET', unpack(jobs))
  for n, i in ipairs(fresh) do
    if ARGV[i + 3] == '1' then
      call('SET', seen_prefix .. ARGV[i], log_ids[n], 'PX', dedupe_ms)
    else
      call_on(replays_prefix .. ARGV[i], 'SADD', log_ids[n])
      call('PEXPIRE', replays_prefix .. ARGV[i], retention_ms)
    end
  end
  call('XTRIM', log, 'MINID', '~', digits(now_ms - tonumber(retention_ms)))
  if push(fresh, idle_workers) < accepted then
    call('PUBLISH', wake_channel, accepted)
  end
end
if duplicates > 0 then
  add(ledger, 'duplicates', duplicates)
end
if #answers == 0 then
  call('ZADD', queue, 'XX', 0, '') -- a write, and one that needs memory, of a job that there is not
end
return answers
