-- Start a new incarnation of a worker: take the next fencing token, and put back what earlier incarnations held. Tokens
-- follow the clock, so that they grow even when Redis came back older than it was.
-- KEYS 1 worker  2 workers  3 queues  4 serial  5 held  6 state  7 instances  8 restoring
-- ARGV 1 name  2 queue ('' for a source)  3 prefix of all keys  4 id for a new state
--      5 node  6 instance ('' when nobody else can have the node's name)  7 the instance whose place it takes, or ''
--      8... field, value of the worker's hash, `queue` among them
-- A queue that the section read before, and whose messages it has still to take along, is added to the field `left`, a
-- list in JSON.
-- Returns {token, messages put back, id of the state, the newest token that any worker had before or ''},
-- or {'another', id of the instance that has the node's name}, or {'importing'} while a state is being imported.
if redis.call('EXISTS', KEYS[8]) == 1 then return {'importing'} end
local last = redis.call('HMGET', KEYS[1], 'token', 'queue')
make_way(KEYS[1])
if ARGV[6] ~= '' then
  local owner = redis.call('HGET', KEYS[7], ARGV[5])
  if owner and owner ~= ARGV[6] and owner ~= ARGV[7] then return {'another', owner} end
  redis.call('HSET', KEYS[7], ARGV[5], ARGV[6])
end
if redis.call('HSETNX', KEYS[6], 'id', ARGV[4]) == 1 then
  redis.call('HSET', KEYS[6], 'began', string.format('%.3f', now()))
end
local token = string.format('%.0f', math.max(tonumber(last[1] or '0') + 1, math.floor(now() * 1000000)))
-- Notes, reports and outages of an earlier incarnation may no longer be true.
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(field, '^note:') or string.find(field, '^report:') or string.find(field, '^outage:') then redis.call('HDEL', KEYS[1], field) end
end
redis.call('HSET', KEYS[1], 'token', token, 'batch', 0, unpack(ARGV, 8))
redis.call('SADD', KEYS[2], ARGV[1])
-- The section may read another queue than before: messages that it held belong to the queue that they came from.
local back, prefix, from = 0, ARGV[3], last[2]
if from and from ~= '' then
  local caught = prefix .. 'caught:' .. from .. ':' .. ARGV[1]
  back = put_back(KEYS[5], caught, prefix .. 'queue:' .. from, prefix .. 'returned:' .. from, KEYS[4])
  if from ~= ARGV[2] then
    redis.call('SREM', prefix .. 'holders:' .. from, ARGV[1])
    -- Note the old queue in this same step: a worker that is killed before it took its messages along does so after its
    -- next start.
    local left = cjson.decode(redis.call('HGET', KEYS[1], 'left') or '[]')
    table.insert(left, from)
    redis.call('HSET', KEYS[1], 'left', cjson.encode(left))
  end
end
if ARGV[2] ~= '' then
  redis.call('SADD', prefix .. 'holders:' .. ARGV[2], ARGV[1])
  redis.call('SADD', KEYS[3], ARGV[2])
end
local newest = redis.call('HGET', KEYS[6], 'newest') or ''
if newest == '' or tonumber(newest) < tonumber(token) then redis.call('HSET', KEYS[6], 'newest', token) end
return {token, back, redis.call('HGET', KEYS[6], 'id'), newest}
