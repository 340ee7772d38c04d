-- Move some of what a queue holds that nobody reads any more to another one: ready, returned, delayed, dead.
-- The books of the one say `dropped:moved`, those of the other count what comes; both balance.
-- KEYS from: 1 queue  2 returned  3 delayed  4 dead  5 books   to: 6 queue  7 returned  8 delayed  9 dead  10 books
--      11 queues
-- ARGV 1 the most entries to move  2 name of the queue they go to
-- Returns how many were moved.
local wrong = mistyped('set', KEYS[11])
for i = 1, 10, 5 do
  wrong = wrong or mistyped('list', KEYS[i], 'list', KEYS[i + 1], 'zset', KEYS[i + 2], 'hash', KEYS[i + 3], 'hash', KEYS[i + 4])
end
if wrong then return wrong end
local left, waiting = tonumber(ARGV[1]), nil
make_way(KEYS[5])
local function from_list(source, target)
  local n = 0
  while left > 0 do
    if not redis.call('LMOVE', source, target, 'LEFT', 'RIGHT') then break end
    left, n = left - 1, n + 1
  end
  return n
end
-- what waits to be tried again was taken from the queue before, and is counted as taken in the other
local returned = from_list(KEYS[2], KEYS[7])
local delayed = 0
for i, value in ipairs(left > 0 and redis.call('ZRANGE', KEYS[3], 0, left - 1, 'WITHSCORES') or {}) do
  if i % 2 == 1 then
    waiting = value
  else
    redis.call('ZADD', KEYS[8], value, waiting)
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
    redis.call('HSET', KEYS[9], page[2][i], page[2][i + 1])
    redis.call('HDEL', KEYS[4], page[2][i])
    dead = dead + 1
  end
until dead > 0 or place == '0'
left = left - dead
local ready = from_list(KEYS[1], KEYS[6])
local moved = returned + delayed + dead + ready
if moved > 0 then
  redis.call('HINCRBY', KEYS[5], 'in', ready)
  redis.call('HINCRBY', KEYS[5], 'dropped:moved', moved)
  redis.call('HINCRBY', KEYS[10], 'in', returned + delayed + dead)
  redis.call('HINCRBY', KEYS[10], 'pushed', moved)
  redis.call('SADD', KEYS[11], ARGV[2])
end
return moved
