-- Move some of what a queue that nobody reads holds to another queue: ready, returned, delayed, dead, timers, memory.
-- Where the other queue has a timer of the same name, that one stays, and the one to be moved is deleted. A remembered
-- text stays where it is when the other queue has one of the same name whose time is not over. The books of the first
-- queue count `dropped:moved`, the books of the other count arrivals; both balance.
-- KEYS from: 1 queue  2 returned  3 delayed  4 dead  5 books  6 timers  7 timed  8 memory  9 fading
--      to: 10 queue  11 returned  12 delayed  13 dead  14 books  15 timers  16 timed  17 memory  18 fading
--      19 queues
-- ARGV 1 the most entries to move  2 name of the queue that gets them
-- Returns the number of entries moved, timers and remembered texts included.
local wrong = mistyped('set', KEYS[19])
for i = 1, 18, 9 do
  wrong = wrong or mistyped('list', KEYS[i], 'list', KEYS[i + 1], 'zset', KEYS[i + 2], 'hash', KEYS[i + 3], 'hash', KEYS[i + 4])
    or mistyped('zset', KEYS[i + 5], 'hash', KEYS[i + 6], 'hash', KEYS[i + 7], 'zset', KEYS[i + 8])
end
if wrong then return wrong end
local t, left, waiting = now(), tonumber(ARGV[1]), nil
make_way(KEYS[5])
local function from_list(source, target)
  local n = 0
  while left > 0 do
    if not redis.call('LMOVE', source, target, 'LEFT', 'RIGHT') then break end
    left, n = left - 1, n + 1
  end
  return n
end
-- messages that wait for another try were taken from this queue before, so the other queue's books count them as taken
local returned = from_list(KEYS[2], KEYS[11])
local delayed = 0
for i, value in ipairs(left > 0 and redis.call('ZRANGE', KEYS[3], 0, left - 1, 'WITHSCORES') or {}) do
  if i % 2 == 1 then
    waiting = value
  else
    redis.call('ZADD', KEYS[12], value, waiting)
    redis.call('ZREM', KEYS[3], waiting)
    delayed = delayed + 1
  end
end
left = left - delayed
local dead, place = 0, '0'
repeat
  if left <= 0 then break end
  local page = redis.call('HSCAN', KEYS[4], place, 'COUNT', left)
  place = page[1]
  for i = 1, #page[2], 2 do
    redis.call('HSET', KEYS[13], page[2][i], page[2][i + 1])
    redis.call('HDEL', KEYS[4], page[2][i])
    dead = dead + 1
  end
until dead > 0 or place == '0'
left = left - dead
local ready = from_list(KEYS[1], KEYS[10])
local moved = returned + delayed + dead + ready
if moved > 0 then
  redis.call('HINCRBY', KEYS[5], 'in', ready)
  redis.call('HINCRBY', KEYS[5], 'dropped:moved', moved)
  redis.call('HINCRBY', KEYS[14], 'in', returned + delayed + dead)
  redis.call('HINCRBY', KEYS[14], 'pushed', moved)
  redis.call('SADD', KEYS[19], ARGV[2])
end
local function from_hash(scores, texts, other_scores, other_texts, keeps)
  local n, at = 0, '0'
  repeat
    if left <= 0 then break end
    local found = redis.call('HSCAN', texts, at, 'COUNT', left)
    at = found[1]
    for i = 1, #found[2], 2 do
      local name = found[2][i]
      local score = redis.call('ZSCORE', scores, name)
      if keeps and recalled(other_texts, name, t) == '' then
        redis.call('HDEL', other_texts, name)
        redis.call('ZREM', other_scores, name)
      end
      local is_new = redis.call('HSETNX', other_texts, name, found[2][i + 1]) == 1
      if is_new and score then redis.call('ZADD', other_scores, score, name) end
      if is_new or not keeps then
        redis.call('HDEL', texts, name)
        redis.call('ZREM', scores, name)
        n = n + 1
      end
    end
  until n > 0 or at == '0'
  left = left - n
  return n
end
return moved + from_hash(KEYS[6], KEYS[7], KEYS[15], KEYS[16], false) + from_hash(KEYS[9], KEYS[8], KEYS[18], KEYS[17], true)
