-- Delete some of what a queue holds, at an operator's request.
-- KEYS 1 queue  2 returned  3 delayed  4 dead  5 books  6 timers  7 timed  8 memory  9 fading
-- ARGV 1 the most entries to delete from each list; dead letters, timers and memory are deleted all at once
-- Returns the number of entries deleted; remembered texts are not counted.
local wrong = mistyped('list', KEYS[1], 'list', KEYS[2], 'zset', KEYS[3], 'hash', KEYS[4], 'hash', KEYS[5])
  or mistyped('zset', KEYS[6], 'hash', KEYS[7], 'hash', KEYS[8], 'zset', KEYS[9])
if wrong then return wrong end
local most = tonumber(ARGV[1])
make_way(KEYS[5])
local function shorten(list)
  local n = math.min(redis.call('LLEN', list), most)
  if n > 0 then redis.call('LTRIM', list, n, -1) end
  return n
end
local ready, returned = shorten(KEYS[1]), shorten(KEYS[2])
local delayed = redis.call('ZREMRANGEBYRANK', KEYS[3], 0, most - 1)
local dead = redis.call('HLEN', KEYS[4])
redis.call('DEL', KEYS[4])
local gone = ready + returned + delayed + dead
if gone > 0 then
  redis.call('HINCRBY', KEYS[5], 'in', ready)
  redis.call('HINCRBY', KEYS[5], 'dropped:operator', gone)
end
gone = gone + redis.call('ZCARD', KEYS[6])
redis.call('DEL', KEYS[6], KEYS[7], KEYS[8], KEYS[9])
return gone
