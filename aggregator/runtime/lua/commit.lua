-- One atomic step: messages leave `held`, their results enter the next queues, the books and cursors are updated.
-- Nothing at all happens when the token is no longer the name's newest, or when this batch was committed before.
-- KEYS from `k`: 1 worker  2 books  3 cursors  4 serial  5 queues  then 6 held  7 returned  8 delayed  9 dead (unused
--      for a source)  10... of each target: queue, delayed, books, flow
-- ARGV from `a` to the end: token, batch number, then
--      'first', n (leave from the head of held) | 'copy', n (the same, and a target gets them) | 'these', n, n × entry
--      n, n × (field, increment) of the books
--      n, n × (cursor, expected value or '*', new value or '')
--      n, n × (delay, header, body) to try again later
--      n, n × (header, body) to set aside
--      n, n × (header or '', entry or body) to put back untried
--      per target: name, n, n × body (n = -1: all that leave, as they are), n, n × (delay, body)
-- Returns ok | again (already done) | superseded | rolledback | cursor NAME (it was not what the source thought).
local function commit(k, a)
  local worker, books, cursors, serials, queues = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local held, returned, delayed, dead = KEYS[k + 5], KEYS[k + 6], KEYS[k + 7], KEYS[k + 8]
  local at = a - 1
  local function take()
    at = at + 1
    return ARGV[at]
  end
  local function number()
    return tonumber(take())
  end

  local token, batch = take(), take()
  local stored = redis.call('HMGET', worker, 'token', 'batch')
  if stored[1] ~= token then return 'superseded' end
  if stored[2] == batch then return 'again' end
  if tonumber(stored[2]) ~= tonumber(batch) - 1 then return 'rolledback' end

  -- Everything is looked at before anything is written: a script does not roll back.
  local mode, removed = take(), number()
  local entries = at
  if mode == 'these' then at = at + removed end
  if removed > 0 and redis.call('LLEN', held) < removed then return 'rolledback' end
  if mode == 'these' then
    local wanted = {}
    for i = entries + 1, entries + removed do wanted[ARGV[i]] = (wanted[ARGV[i]] or 0) + 1 end
    for entry, count in pairs(wanted) do
      if #redis.call('LPOS', held, entry, 'COUNT', count) < count then return 'rolledback' end
    end
  end
  local increments = number()
  local increments_at = at
  at = at + 2 * increments
  local positions = number()
  local positions_at = at
  at = at + 3 * positions
  for i = positions_at + 1, at, 3 do
    local name, expected = ARGV[i], ARGV[i + 1]
    if expected ~= '*' and (redis.call('HGET', cursors, name) or '') ~= expected then return 'cursor ' .. name end
  end
  local wrong = mistyped('hash', books, 'string', serials, 'set', queues)
  if held ~= worker then wrong = wrong or mistyped('list', returned, 'zset', delayed, 'hash', dead) end
  for target = k + 9, #KEYS, 4 do
    wrong = wrong
      or mistyped('list', KEYS[target], 'zset', KEYS[target + 1], 'hash', KEYS[target + 2], 'zset', KEYS[target + 3])
  end
  if wrong then return wrong end
  -- What a source brings needs memory; what leaves `held` gives as much back.
  if removed > 0 then make_way(worker) end

  local whole = mode == 'copy' and redis.call('LRANGE', held, 0, removed - 1)
  if removed > 0 and mode ~= 'these' then
    redis.call('LTRIM', held, removed, -1)
  else
    for i = entries + 1, entries + removed do redis.call('LREM', held, 1, ARGV[i]) end
  end
  for i = increments_at + 1, increments_at + 2 * increments, 2 do
    redis.call('HINCRBY', books, ARGV[i], ARGV[i + 1])
  end
  for i = positions_at + 1, positions_at + 3 * positions, 3 do
    if ARGV[i + 2] == '' then
      redis.call('HDEL', cursors, ARGV[i])
    else
      redis.call('HSET', cursors, ARGV[i], ARGV[i + 2])
    end
  end

  -- A header without an id gets one: the members of a sorted set must differ even where the bodies are the same.
  local function entry(header, body)
    if not string.find(header, '"id":', 1, true) then
      local rest = string.sub(header, 3)
      header = '!{"id":' .. serial(serials) .. (string.sub(rest, 1, 1) == '}' and '' or ',') .. rest
    end
    return header .. body
  end

  local t = now()
  local retries = number()
  for _ = 1, retries do
    local due, header, body = t + number(), take(), take()
    redis.call('ZADD', delayed, string.format('%.6f', due), entry(header, body))
  end
  local died = number()
  for _ = 1, died do
    local header, body = take(), take()
    local letter = entry(header, body)
    redis.call('HSET', dead, string.match(letter, '"id":(%d+)'), letter)
  end
  local back = number()
  for i = at + 2 * back - 1, at + 1, -2 do
    redis.call('LPUSH', returned, ARGV[i] == '' and ARGV[i + 1] or entry(ARGV[i], ARGV[i + 1]))
  end
  at = at + 2 * back

  k = k + 9
  local first_target = k
  while at < #ARGV do
    redis.call('SADD', queues, take())
    local fresh = number()
    if fresh < 0 then
      fresh = #whole
      push(KEYS[k], whole, 1, fresh)
    else
      push(KEYS[k], ARGV, at + 1, at + fresh)
      at = at + fresh
    end
    local later = number()
    for _ = 1, later do
      local due, body = t + number(), take()
      redis.call('ZADD', KEYS[k + 1], string.format('%.6f', due), entry('!{}\n', body))
    end
    -- What waits in `delayed` is in the consumer's care already, so its books count it as taken.
    if later > 0 then redis.call('HINCRBY', KEYS[k + 2], 'in', later) end
    redis.call('HINCRBY', KEYS[k + 2], 'pushed', fresh + later)
    sample(KEYS[k + 2], KEYS[k + 3], KEYS[k], t)
    k = k + 4
  end
  redis.call('HSET', worker, 'batch', batch)
  -- A source that only moves its position has brought nothing; what failed, or goes back untried, is no success.
  if removed > retries + died + back or k > first_target then redis.call('HSET', books, 'committed', string.format('%.3f', t)) end
  return 'ok'
end
