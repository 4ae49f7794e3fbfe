-- Admit a batch of events: dedupe, log, store the job, queue it, count. All or nothing, as one write of the AOF.
-- KEYS: queue, log, ledger
-- ARGV: job prefix, seen prefix, delivery prefix, replays prefix, wake channel, dedupe window in ms, log retention in ms,
--       then for each event: event id, job id, job, '1' to dedupe or '0' (a replay)
-- Returns for each event 1 if it was accepted, 0 if it is a duplicate.
local call = redis.call
local queue, log, ledger = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, seen_prefix, delivery_prefix, replays_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local wake_channel, dedupe_ms, retention_ms = ARGV[5], ARGV[6], ARGV[7]
local now_ms = server_now_ms()
local due = digits(now_ms)
local accepted, duplicates, answers = 0, 0, {}

-- Seen within the window; or longer ago, and still queued, being retried or dead: whatever is not settled has no time to
-- live. What is settled makes room for the event to be handled once more.
local function is_known(seen_key, job_key, delivery_key)
  if call('EXISTS', seen_key, job_key, delivery_key) == 0 then
    return false
  end
  if call('EXISTS', seen_key, job_key) > 0 or call('PTTL', delivery_key) == -1 then
    return true
  end
  call('DEL', delivery_key)
  return false
end

for i = 8, #ARGV, 4 do
  local event_id, job_id, job, dedupe = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] == '1'
  local seen_key, job_key = seen_prefix .. event_id, job_prefix .. job_id
  if dedupe and is_known(seen_key, job_key, delivery_prefix .. job_id) then
    duplicates = duplicates + 1
    answers[#answers + 1] = 0
  elseif not dedupe and call('EXISTS', job_key) == 1 then
    answers[#answers + 1] = 1 -- the same call once more: the connection was lost before its answer came
  else
    call('SET', job_key, job)
    call('ZADD', queue, due, job_id)
    local log_id = call('XADD', log, '*', 'job', job)
    if dedupe then
      call('SET', seen_key, log_id, 'PX', dedupe_ms)
    else
      call('SADD', replays_prefix .. event_id, log_id)
      call('PEXPIRE', replays_prefix .. event_id, retention_ms)
    end
    accepted = accepted + 1
    answers[#answers + 1] = 1
  end
end

if accepted > 0 then
  call('HINCRBY', ledger, 'accepted', accepted)
  call('XTRIM', log, 'MINID', '~', digits(now_ms - tonumber(retention_ms)))
  call('PUBLISH', wake_channel, accepted)
end
if duplicates > 0 then
  call('HINCRBY', ledger, 'duplicates', duplicates)
end
return answers
