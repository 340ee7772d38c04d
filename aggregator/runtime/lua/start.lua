-- A new incarnation of a worker: take the next fencing token, put back what earlier ones held. Tokens follow the clock
-- so that they grow even over a Redis that came back older than it was.
-- KEYS 1 worker  2 workers  3 queues  4 serial  5 held
-- ARGV 1 name  2 queue ('' for a source)  3 what all keys start with  4 maxdeliveries  5... field, value of the
--      worker's hash, `queue` among them
-- Returns {token, messages put back}.
local last = redis.call('HMGET', KEYS[1], 'token', 'queue')
make_way(KEYS[1])
local token = string.format('%.0f', math.max(tonumber(last[1] or '0') + 1, math.floor(now() * 1000000)))
-- What an earlier incarnation noted of itself may be true no more.
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 5) == 'note:' then redis.call('HDEL', KEYS[1], field) end
end
redis.call('HSET', KEYS[1], 'token', token, 'batch', 0, unpack(ARGV, 5))
redis.call('SADD', KEYS[2], ARGV[1])
-- The section may read another queue than it did: what was held belongs to the one it came from.
local back, prefix, from = 0, ARGV[3], last[2]
if from and from ~= '' then
  local caught = prefix .. 'caught:' .. from .. ':' .. ARGV[1]
  back = put_back(KEYS[5], caught, prefix .. 'queue:' .. from, prefix .. 'returned:' .. from, prefix .. 'dead:' .. from,
    KEYS[4], ARGV[1], tonumber(ARGV[4]))
  if from ~= ARGV[2] then redis.call('SREM', prefix .. 'holders:' .. from, ARGV[1]) end
end
if ARGV[2] ~= '' then
  redis.call('SADD', prefix .. 'holders:' .. ARGV[2], ARGV[1])
  redis.call('SADD', KEYS[3], ARGV[2])
end
return {token, back}
