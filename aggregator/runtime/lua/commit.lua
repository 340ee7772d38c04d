-- Commit a batch in one atomic step: its messages leave `held`, their results enter the next queues, and books,
-- cursors, timers and memory are updated. Nothing changes when the token is no longer the newest of the worker's name,
-- when the batch was committed before, or when something that the batch is based on has changed.
-- KEYS from `k`: 1 worker  2 books  3 cursors  4 serial  5 queues  6 memory  7 fading  then 8 held  9 returned
--      10 delayed  11 dead (unused for a source)  12... keys that sections refer to by number
-- ARGV from `a` to the end: token, batch number, number of sections, then for each section its name, the number of its
--      arguments, and the arguments:
--      leave      'first', n (the first n of held) | 'copy', n (the same n, and a `send` may refer to them) |
--                 'these', n, n × entry
--      books      field, increment, ...
--      cursors    name, expected value or '*', new value or '', ...
--      leased     key of leases, lease, token, key of its cursors, then as in cursors; the lease must still be this
--                 holder's
--      retry      delay, header, body, ...: messages to try again later
--      dead       header, body, ...: messages to set aside
--      back       header or '', entry or body, ...: messages to put back untried
--      remember   name, '*' or '=' and the expected text, seconds or '', new text or '', ...
--      send       key of the first of a target's queue, delayed, books, flow; its name; body, ... (no body: all
--                 messages that leave)
--      later      the same keys and name; delay, body, ...
--      timers     key of the first of timers, timed; name, delay, body or '' to cancel, ...
-- Returns ok | again (already done) | superseded | rolledback | cursor NAME | memory NAME (it was not what this batch is
-- based on) | lease TOKEN NAME (it is another's).
-- What each section needs is looked at first, and its effect comes after: a script does not roll back. One function with
-- two loops, as every function that is made costs each commit a tenth of a microsecond.
local function moved(positions, first, last)
  for i = first, last, 3 do
    local expected = ARGV[i + 1]
    if expected ~= '*' and (redis.call('HGET', positions, ARGV[i]) or '') ~= expected then return 'cursor ' .. ARGV[i] end
  end
end

local function move(positions, first, last)
  for i = first, last, 3 do
    if ARGV[i + 2] == '' then
      redis.call('HDEL', positions, ARGV[i])
    else
      redis.call('HSET', positions, ARGV[i], ARGV[i + 2])
    end
  end
end

-- Add an id to a header without one: members of a sorted set must differ even where the bodies are the same.
local function entry(serials, header, body)
  if not string.find(header, '"id":', 1, true) then
    local rest = string.sub(header, 3)
    header = '!{"id":' .. serial(serials) .. (string.sub(rest, 1, 1) == '}' and '' or ',') .. rest
  end
  return header .. body
end

local function commit(k, a)
  local worker, books, cursors, serials, queues = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local memory, fading = KEYS[k + 5], KEYS[k + 6]
  local held, returned, delayed, dead = KEYS[k + 7], KEYS[k + 8], KEYS[k + 9], KEYS[k + 10]
  local token, batch = ARGV[a], ARGV[a + 1]
  local stored = redis.call('HMGET', worker, 'token', 'batch')
  if stored[1] ~= token then return 'superseded' end
  if stored[2] == batch then return 'again' end
  if tonumber(stored[2]) ~= tonumber(batch) - 1 then return 'rolledback' end
  local wrong = mistyped('hash', books, 'string', serials, 'set', queues)
  if held ~= worker then wrong = wrong or mistyped('list', returned, 'zset', delayed, 'hash', dead) end
  if wrong then return wrong end

  -- `at` is the number of the key that a section refers to, or of the first of several keys
  local t, removed, whole, done = now(), 0, nil, 0
  local sections, next_at = tonumber(ARGV[a + 2]), a + 3
  for _ = 1, sections do
    local name, first = ARGV[next_at], next_at + 2
    local last = first + tonumber(ARGV[next_at + 1]) - 1
    next_at = last + 1
    if name == 'leave' then
      removed = tonumber(ARGV[first + 1])
      if redis.call('LLEN', held) < removed then return 'rolledback' end
      if last > first + 1 then
        local wanted = {}
        for i = first + 2, last do wanted[ARGV[i]] = (wanted[ARGV[i]] or 0) + 1 end
        for one, count in pairs(wanted) do
          if #redis.call('LPOS', held, one, 'COUNT', count) < count then return 'rolledback' end
        end
      end
    elseif name == 'send' or name == 'later' then
      local at = k + tonumber(ARGV[first]) - 1
      wrong = mistyped('list', KEYS[at], 'zset', KEYS[at + 1], 'hash', KEYS[at + 2], 'zset', KEYS[at + 3])
    elseif name == 'cursors' then
      wrong = mistyped('hash', cursors) or moved(cursors, first, last)
    elseif name == 'leased' then
      local leases, positions = KEYS[k + tonumber(ARGV[first]) - 1], KEYS[k + tonumber(ARGV[first + 3]) - 1]
      wrong = mistyped('hash', leases, 'hash', positions)
      if wrong then return wrong end
      local current, till = leased(leases, ARGV[first + 1])
      if current ~= ARGV[first + 2] or till <= t then return 'lease ' .. ARGV[first + 2] .. ' ' .. ARGV[first + 1] end
      wrong = moved(positions, first + 4, last)
    elseif name == 'remember' then
      wrong = mistyped('hash', memory, 'zset', fading)
      if wrong then return wrong end
      for i = first, last, 4 do
        local expected = ARGV[i + 1]
        if expected ~= '*' and '=' .. recalled(memory, ARGV[i], t) ~= expected then return 'memory ' .. ARGV[i] end
      end
    elseif name == 'timers' then
      local at = k + tonumber(ARGV[first]) - 1
      wrong = mistyped('zset', KEYS[at], 'hash', KEYS[at + 1])
    end
    if wrong then return wrong end
  end
  -- What a source brings needs memory; a consumer takes at least as much away.
  if held ~= worker then make_way(worker) end

  next_at = a + 3
  for _ = 1, sections do
    local name, first = ARGV[next_at], next_at + 2
    local last = first + tonumber(ARGV[next_at + 1]) - 1
    next_at = last + 1
    if name == 'leave' then
      if ARGV[first] == 'copy' then whole = redis.call('LRANGE', held, 0, removed - 1) end
      if ARGV[first] ~= 'these' then
        redis.call('LTRIM', held, removed, -1)
      else
        for i = first + 2, last do redis.call('LREM', held, 1, ARGV[i]) end
      end
      done = done + removed
    elseif name == 'books' then
      for i = first, last, 2 do redis.call('HINCRBY', books, ARGV[i], ARGV[i + 1]) end
    elseif name == 'send' then
      local at, list, from = k + tonumber(ARGV[first]) - 1, ARGV, first + 2
      if last < from then list, from, last = whole, 1, #whole end
      redis.call('SADD', queues, ARGV[first + 1])
      push(KEYS[at], list, from, last)
      redis.call('HINCRBY', KEYS[at + 2], 'pushed', last - from + 1)
      sample(KEYS[at + 2], KEYS[at + 3], KEYS[at], t)
      done = math.max(done, 1)
    elseif name == 'later' then
      local at, count = k + tonumber(ARGV[first]) - 1, (last - first - 1) / 2
      redis.call('SADD', queues, ARGV[first + 1])
      for i = first + 2, last, 2 do
        redis.call('ZADD', KEYS[at + 1], string.format('%.6f', t + tonumber(ARGV[i])), entry(serials, '!{}\n', ARGV[i + 1]))
      end
      -- A message in `delayed` is in the consumer's care already, so the consumer's books count it as taken.
      redis.call('HINCRBY', KEYS[at + 2], 'in', count)
      redis.call('HINCRBY', KEYS[at + 2], 'pushed', count)
      done = math.max(done, 1)
    elseif name == 'cursors' then
      move(cursors, first, last)
    elseif name == 'leased' then
      move(KEYS[k + tonumber(ARGV[first + 3]) - 1], first + 4, last)
    elseif name == 'retry' then
      for i = first, last, 3 do
        local due = string.format('%.6f', t + tonumber(ARGV[i]))
        redis.call('ZADD', delayed, due, entry(serials, ARGV[i + 1], ARGV[i + 2]))
        done = done - 1
      end
    elseif name == 'dead' then
      for i = first, last, 2 do
        local letter = entry(serials, ARGV[i], ARGV[i + 1])
        redis.call('HSET', dead, string.match(letter, '^!{"id":(%d+)'), letter)
        done = done - 1
      end
    elseif name == 'back' then
      for i = last - 1, first, -2 do
        redis.call('LPUSH', returned, ARGV[i] == '' and ARGV[i + 1] or entry(serials, ARGV[i], ARGV[i + 1]))
        done = done - 1
      end
    elseif name == 'remember' then
      for i = first, last, 4 do
        local what, seconds, text = ARGV[i], ARGV[i + 2], ARGV[i + 3]
        redis.call('ZREM', fading, what)
        if text == '' then
          redis.call('HDEL', memory, what)
        elseif seconds == '' then
          redis.call('HSET', memory, what, ' ' .. text)
        else
          local till = string.format('%.3f', t + tonumber(seconds))
          redis.call('HSET', memory, what, till .. ' ' .. text)
          redis.call('ZADD', fading, till, what)
        end
      end
      -- 7,000 is nearly all that unpack() takes. Few commits remember more names, so forgetting keeps up.
      local over = redis.call('ZRANGEBYSCORE', fading, '-inf', string.format('%.3f', t), 'LIMIT', 0, 7000)
      if #over > 0 then
        redis.call('HDEL', memory, unpack(over))
        redis.call('ZREM', fading, unpack(over))
      end
    elseif name == 'timers' then
      local at = k + tonumber(ARGV[first]) - 1
      for i = first + 2, last, 3 do
        if ARGV[i + 2] == '' then
          redis.call('ZREM', KEYS[at], ARGV[i])
          redis.call('HDEL', KEYS[at + 1], ARGV[i])
        else
          redis.call('ZADD', KEYS[at], string.format('%.6f', t + tonumber(ARGV[i + 1])), ARGV[i])
          redis.call('HSET', KEYS[at + 1], ARGV[i], ARGV[i + 2])
        end
      end
      redis.call('SADD', queues, ARGV[first + 1])
    end
  end
  redis.call('HSET', worker, 'batch', batch)
  -- The time of the last success. A source that only moved its position brought nothing, and a message that failed or
  -- goes back untried is no success.
  if done > 0 then redis.call('HSET', books, 'committed', string.format('%.3f', t)) end
  return 'ok'
end
