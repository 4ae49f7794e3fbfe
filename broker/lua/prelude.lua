-- Put before every script by broker/redis/scripts.py.

-- Unix milliseconds of the server's clock: the only clock that decides what is due, whatever the clients' clocks say.
local function server_now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Lua would write 1.7e+12; Redis wants all the digits.
local function digits(number)
  return string.format('%.0f', number)
end

-- unpack() has a limit of some thousand values; this calls a command with any number of them.
local function call_in_chunks(command, key, values)
  for first = 1, #values, 1000 do
    redis.call(command, key, unpack(values, first, math.min(first + 999, #values)))
  end
end
