-- Functions that several scripts share; scripts.py puts this file in front of each of them. Keys are built by keys.py
-- and arrive in KEYS, or as a prefix in ARGV where a script reads the rest of the name from Redis.

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function serial(key)
  return redis.call('INCR', key)
end

-- Write something that needs no memory. A Redis at its maxmemory refuses a script's first command that may need memory,
-- but no command after such a write. Scripts that only move messages must work even then, because otherwise no memory
-- would ever be freed.
local function make_way(hash)
  redis.call('HDEL', hash, '')
end

-- Commands that answer with a number for a key of the type, or for no key, and with an error for any other key. TYPE
-- would say more, and takes half as long again.
local SIZE_OF = {list = 'LLEN', hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', string = 'STRLEN'}

-- Check the types of keys before the first write: a script does not roll back, and a key that somebody made another
-- type would stop it halfway. Arguments: type and key in turns. Returns an error reply, or nil when all types are
-- right.
local function mistyped(...)
  for i = 1, select('#', ...), 2 do
    local kind, key = select(i, ...)
    if type(redis.pcall(SIZE_OF[kind], key)) ~= 'number' then
      local found = redis.call('TYPE', key).ok
      return redis.error_reply('MISTYPED the key ' .. key .. ' must be a ' .. kind .. ' and somebody made it a ' .. found)
    end
  end
end

-- unpack() of more than 7,999 values overflows Lua's C stack, so push in slices.
local function push(key, list, first, last)
  local i = first
  while i <= last do
    local j = math.min(i + 3999, last)
    redis.call('RPUSH', key, unpack(list, i, j))
    i = j + 1
  end
end

-- Take one sample a second of how much has ever arrived in a queue (taken so far + waiting) and how much was taken.
-- Rates and the age of the oldest message follow from the samples, so messages need no marks. A sample is dropped once
-- it is older than two minutes and everything that had arrived by then was taken. During a long backlog (more than
-- 4,000 samples) only one sample a minute is added.
local function sample(books, flow, queue, t)
  local second = math.floor(t)
  local last = redis.call('HGET', books, 'sampled')
  if last and tonumber(last) >= second then return end
  redis.call('HSET', books, 'sampled', second)
  local taken = tonumber(redis.call('HGET', books, 'in') or '0')
  local arrived = taken + redis.call('LLEN', queue)
  local count = redis.call('ZCARD', flow)
  if count > 4000 then
    local newest = redis.call('ZREVRANGE', flow, 0, 0, 'WITHSCORES')
    if second - tonumber(newest[2]) < 60 then return end
  end
  redis.call('ZADD', flow, second, string.format('%d %.0f %.0f', second, arrived, taken))
  for _ = 1, 3 do
    local oldest = redis.call('ZRANGE', flow, 0, 0)[1]
    local s, a = string.match(oldest, '^(%d+) (%d+)')
    if tonumber(s) < second - 120 and tonumber(a) <= taken then
      redis.call('ZREM', flow, oldest)
    else
      break
    end
  end
end

-- Return the number of the first bounded target that is full, 0 when none is. Each target has three keys and one limit;
-- messages that wait for another try count.
local function first_full(k, a, limits)
  for i = 1, limits do
    local depth = redis.call('LLEN', KEYS[k]) + redis.call('LLEN', KEYS[k + 1]) + redis.call('ZCARD', KEYS[k + 2])
    if depth >= tonumber(ARGV[a + i - 1]) then return i end
    k = k + 3
  end
  return 0
end

-- Return the text that a section remembers under a name, '' when there is none or its time is over. `memory` holds
-- 'UNTIL TEXT'; UNTIL is empty for a text without an end.
local function recalled(memory, name, t)
  local stored = redis.call('HGET', memory, name)
  if not stored then return '' end
  local till, text = string.match(stored, '^([%d.]*) (.*)$')
  if till ~= '' and tonumber(till) <= t then return '' end
  return text
end

-- Return the fencing token of a lease, and the time at which the lease ends; '0' and 0 when nobody ever had it.
local function leased(leases, name)
  local token, till = string.match(redis.call('HGET', leases, name) or '', '^(%d+) ([%d.]+)')
  return token or '0', tonumber(till or '0')
end

-- The fields of a history and their types. Anything else in a header would stop a script that counts with it.
local FIELDS = {
  id = 'number', attempts = 'number', deliveries = 'number', first = 'number', died = 'number',
  error = 'string', trace = 'string', worker = 'string', kept = 'string',
}

-- Split an entry into history and body. A message with a history is '!' header newline body (message.py).
local function split(entry)
  if string.byte(entry) == 33 then
    local newline = string.find(entry, '\n', 1, true)
    if newline then
      local ok, found = pcall(cjson.decode, string.sub(entry, 2, newline - 1))
      if ok and type(found) == 'table' then
        local history = {}
        for field, kind in pairs(FIELDS) do
          local value = found[field]
          -- 9007199254740992 (2 to the power of 53): numbers above it, and those that are none, cannot be counted on
          if type(value) == kind and (kind == 'string' or (value >= 0 and value < 9007199254740992)) then history[field] = value end
        end
        return history, string.sub(entry, newline + 1)
      end
    end
  end
  return {}, entry
end

-- Put an empty history in front of a message that looks as if it had one: in its queue a message has none, so the text
-- is somebody else's, and a stage is to see it as it came.
local function bare(entry)
  return '!{}\n' .. entry
end

local function join(history, body)
  return '!' .. cjson.encode(history) .. '\n' .. body
end

-- Put back the messages that a worker left behind. Messages that it held go to the head of the side list in their old
-- order, each with one more delivery counted; a worker that claims a message with too many deliveries sets it aside.
-- Messages that it caught while waiting, and never looked at, go back to the head of the queue as if never taken.
local function put_back(held, caught, queue, returned, serials)
  local entries = redis.call('LRANGE', held, 0, -1)
  local t = now()
  for i = #entries, 1, -1 do
    local history, body = split(entries[i])
    history.deliveries = (history.deliveries or 0) + 1
    history.first = history.first or t
    history.id = history.id or serial(serials)
    redis.call('LPUSH', returned, join(history, body))
  end
  redis.call('DEL', held)
  while redis.call('LMOVE', caught, queue, 'RIGHT', 'LEFT') do end
  return #entries
end
