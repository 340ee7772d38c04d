-- Read everything about one account in one step, so that its books balance while workers go on.
-- KEYS 1 books  then, for a queue only (a source has none): 2 queue  3 returned  4 delayed  5 dead  6 flow  7 holders
--      8 timers
-- ARGV 1 prefix of the `held` keys  2 prefix of the `caught` keys
-- Returns {now, books as field, value, ... | ready, returned, delayed, dead, in flight, caught, timers,
-- second of arrival of the oldest or '', {flow samples of the last minute}}.
local t = now()
if not KEYS[2] then return {string.format('%.3f', t), redis.call('HGETALL', KEYS[1])} end
make_way(KEYS[1])
sample(KEYS[1], KEYS[6], KEYS[2], t)
local in_flight, caught = 0, 0
for _, name in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  in_flight = in_flight + redis.call('LLEN', ARGV[1] .. name)
  caught = caught + redis.call('LLEN', ARGV[2] .. name)
end
local ready = redis.call('LLEN', KEYS[2])
local oldest = ''
if ready > 0 then
  -- Search for the first sample with more arrivals than are taken now: by then the oldest message had arrived. Samples
  -- grow with time, so a binary search finds it.
  local taken = tonumber(redis.call('HGET', KEYS[1], 'in') or '0')
  local low, high = 0, redis.call('ZCARD', KEYS[6])
  while low < high do
    local middle = math.floor((low + high) / 2)
    local arrived = string.match(redis.call('ZRANGE', KEYS[6], middle, middle)[1], '^%d+ (%d+)')
    if tonumber(arrived) > taken then high = middle else low = middle + 1 end
  end
  local found = redis.call('ZRANGE', KEYS[6], low, low)[1]
  oldest = found and string.match(found, '^(%d+)') or string.format('%d', t)
end
return {
  string.format('%.3f', t), redis.call('HGETALL', KEYS[1]), ready, redis.call('LLEN', KEYS[3]),
  redis.call('ZCARD', KEYS[4]), redis.call('HLEN', KEYS[5]), in_flight, caught,
  redis.call('ZCARD', KEYS[8]), oldest,
  redis.call('ZRANGEBYSCORE', KEYS[6], math.floor(t) - 60, '+inf'),
}
