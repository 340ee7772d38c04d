local byte = string.byte
local LARGE = 1000 -- bytes of a queue's first message: from here on messages are moved one by one (docs/performance.md)

-- Take up to `want` messages into `held`. Harmless when repeated: messages that an earlier call moved, but whose reply
-- was lost, are returned first.
-- KEYS from `k`: 1 worker  2 held  3 caught  4 queue  5 returned  6 delayed  7 books  8 flow  9 timers  10 timed
--      11... queue, returned, delayed of each bounded target
-- ARGV from `a`: 1 token  2 last batch number  3 known (entries of held already in the worker's hands)  4 want
--      5 number of deliveries from which a message is claimed alone  6... depth limit of each of the `limits` targets
-- Returns {status, seconds until the next delayed message or timer is due or '', entries...};
-- status: ok | alone (one message that may have killed its worker) | full N (the Nth target) | superseded | rolledback.
local function claim(k, a, limits)
  local worker, held, caught, queue = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local returned, delayed, books, flow = KEYS[k + 4], KEYS[k + 5], KEYS[k + 6], KEYS[k + 7]
  local timers, timed = KEYS[k + 8], KEYS[k + 9]
  local stored = redis.call('HMGET', worker, 'token', 'batch')
  if stored[1] ~= ARGV[a] then return {'superseded', ''} end
  local known, want, alone_from = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local have = redis.call('LLEN', held)
  if stored[2] ~= ARGV[a + 1] or have < known then return {'rolledback', ''} end
  local wrong = mistyped('list', caught, 'list', queue, 'list', returned, 'hash', books, 'zset', flow)
  if wrong then return wrong end
  make_way(worker)
  local t = now()

  -- Return when the first member of a sorted set is due, math.huge when there is none.
  local function first_due(waiting)
    local first = redis.pcall('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    if first.err then
      wrong = mistyped('zset', waiting)
      return math.huge
    end
    return tonumber(first[2] or math.huge)
  end
  local next_delayed, next_timer = first_due(delayed), first_due(timers)
  if wrong then return wrong end

  local function answer(status, reply)
    sample(books, flow, queue, t)
    local due = math.min(next_delayed, next_timer)
    -- In microseconds, as exact as the clock: a wait rounded to 0 would mean `due already`, and the worker would not
    -- look again at once.
    table.insert(reply, 1, due < math.huge and string.format('%.6f', math.max(0, due - t)) or '')
    table.insert(reply, 1, status)
    return reply
  end

  local function is_suspect(entry)
    return (split(entry).deliveries or 0) >= alone_from
  end

  if have > known then
    local again = redis.call('LRANGE', held, known, -1)
    return answer(#again == 1 and is_suspect(again[1]) and 'alone' or 'ok', again)
  end

  local full = first_full(k + 10, a + 5, limits)
  if full > 0 then return answer('full ' .. full, {}) end

  if next_delayed <= t then
    local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.6f', t), 'LIMIT', 0, 1000)
    push(returned, due, 1, #due)
    redis.call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
    next_delayed = first_due(delayed)
  end
  -- A timer that is due becomes a message like any other.
  if next_timer <= t then
    wrong = mistyped('hash', timed)
    if wrong then return wrong end
    local due = redis.call('ZRANGEBYSCORE', timers, '-inf', string.format('%.6f', t), 'LIMIT', 0, 1000)
    local bodies = {}
    for _, name in ipairs(due) do
      local body = redis.call('HGET', timed, name)
      if body then table.insert(bodies, body) end
    end
    push(queue, bodies, 1, #bodies)
    redis.call('ZREM', timers, unpack(due))
    redis.call('HDEL', timed, unpack(due))
    redis.call('HINCRBY', books, 'pushed', #bodies)
    next_timer = first_due(timers)
  end

  local first = redis.call('LINDEX', returned, 0)
  if first and is_suspect(first) then
    -- A message that lost a worker before is claimed alone, so that a poison message is found out and takes no other
    -- with it.
    if known > 0 then return answer('ok', {}) end
    redis.call('LMOVE', returned, held, 'LEFT', 'RIGHT')
    return answer('alone', {first})
  end
  if first then
    local came_back = redis.call('LRANGE', returned, 0, want - 1)
    local harmless = 1
    while harmless < #came_back and not is_suspect(came_back[harmless + 1]) do harmless = harmless + 1 end
    for i = #came_back, harmless + 1, -1 do came_back[i] = nil end
    push(held, came_back, 1, harmless)
    redis.call('LTRIM', returned, harmless, -1)
    return answer('ok', came_back)
  end

  -- Return the entries as they were read: reading them back from `held` would copy each of them once more.
  local taken, from = {}, caught
  local are_large = want == 1 or #(redis.call('LINDEX', queue, 0) or '') > LARGE
  while #taken < want do
    -- LMOVE writes only the names of the two lists to the append-only file, and not the body again
    local entry = redis.call('LMOVE', from, held, 'LEFT', 'RIGHT')
    if entry then
      if byte(entry) == 33 then
        entry = bare(entry)
        redis.call('LSET', held, -1, entry)
      end
      table.insert(taken, entry)
    elseif from == caught and are_large then
      from = queue
    else
      break
    end
  end
  if #taken < want and not are_large then
    local fresh = redis.call('LRANGE', queue, 0, want - #taken - 1)
    for i = 1, #fresh do
      if byte(fresh[i]) == 33 then fresh[i] = bare(fresh[i]) end
    end
    if #fresh > 0 then
      push(held, fresh, 1, #fresh)
      redis.call('LTRIM', queue, #fresh, -1)
      if #taken == 0 then taken = fresh else for _, entry in ipairs(fresh) do table.insert(taken, entry) end end
    end
  end
  if #taken > 0 then redis.call('HINCRBY', books, 'in', #taken) end
  return answer('ok', taken)
end
