-- Record a sign of life, and list the other workers that may hold messages of the same queue.
-- KEYS 1 worker  2 holders (absent for a source)
-- ARGV 1 token  2 3 4 prefixes of the `worker`, `held` and `caught` keys  5... field, value of the worker's hash
-- Returns {1 or 0 (superseded), then for each worker that has messages: name, token, beat}.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return {0} end
make_way(KEYS[1])
-- Remove the old reports and outages: whatever this beat does not repeat is over.
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(field, '^report:') or string.find(field, '^outage:') then redis.call('HDEL', KEYS[1], field) end
end
redis.call('HINCRBY', KEYS[1], 'beat', 1)
redis.call('HSET', KEYS[1], 'beat_at', string.format('%.3f', now()), unpack(ARGV, 5))
local reply = {1}
if KEYS[2] then
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('LLEN', ARGV[3] .. name) + redis.call('LLEN', ARGV[4] .. name) > 0 then
      local seen = redis.call('HMGET', ARGV[2] .. name, 'token', 'beat')
      table.insert(reply, name)
      table.insert(reply, seen[1] or '')
      table.insert(reply, seen[2] or '')
    end
  end
end
return reply
