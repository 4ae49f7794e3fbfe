-- Put before every script by broker/redis/scripts.py.

-- Unix time of the server's clock: the only clock that decides what is due, whatever the clients' clocks say.
local function server_now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function server_now_ms()
  return math.floor(server_now_us() / 1000)
end

-- The scores of the queue. What has never run has the ms since 1970 at which it fell due, what is leased the ms at which its
-- lease lapses. What is to run again stands before all of that: it has the seconds, each job 1 µs behind the one before.
local FIRST_IN_LINE = 1e11

local function score_first_in_line(now_ms, place)
  return string.format('%.6f', now_ms / 1000 + place / 1000000)
end

-- What one script queues stays in its order: each job is due 1 µs behind the one before. Writing one takes longer than that,
-- so what the next script queues is behind them all.
local function score_in_order(now_us, place)
  return string.format('%.3f', (now_us + place) / 1000)
end

-- What is due in this ms, to its last µs.
local function due_by(now_ms)
  return '(' .. string.format('%.0f', now_ms + 1)
end

-- Note when the first of all leases may lapse: claim.lua looks for lapsed ones only then. What somebody else has written
-- into that key is replaced.
local function note_lease(next_lapse, until_ms)
  local noted = redis.pcall('GET', next_lapse)
  local noted_ms = type(noted) == 'string' and tonumber(noted)
  if not noted_ms or noted_ms > until_ms then
    redis.call('SET', next_lapse, string.format('%.0f', until_ms))
  end
end

-- Lua would write 1.7e+12; Redis wants all the digits.
local function digits(number)
  return string.format('%.0f', number)
end

-- A whole number in a field that somebody else may have written.
local function whole(text, otherwise)
  return text and #text <= 15 and string.match(text, '^%-?%d+$') and tonumber(text) or otherwise
end

-- A command on the key of a single event. Where somebody has made that another type, it is kept under another name.
local function call_on(key, command, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then
    return answer
  end
  if string.find(answer.err, 'WRONGTYPE', 1, true) then
    redis.call('RENAME', key, key .. ':aside')
  end
  return redis.call(command, key, ...) -- or raise what it was
end

-- Add to a count. What somebody has written there, and cannot be added to, is kept under another name.
local function add(ledger, name, by)
  local answer = redis.pcall('HINCRBY', ledger, name, by)
  if type(answer) == 'table' and answer.err then
    redis.call('HSET', ledger, name .. ':aside', redis.call('HGET', ledger, name), name, by)
  end
end

-- Ask these keys, so that one of another type is refused before anything is written: a script is not rolled back.
local function ask(command, ...)
  for _, key in ipairs({ ... }) do
    redis.call(command, key)
  end
end

-- unpack() has a limit of some thousand values; this calls a command with any number of them.
local function call_in_chunks(command, key, values)
  for first = 1, #values, 1000 do
    redis.call(command, key, unpack(values, first, math.min(first + 999, #values)))
  end
end
