-- Read everything about every worker, at one instant.
-- KEYS 1 workers
-- ARGV 1 prefix of the `worker` keys
-- Returns {now, then for each worker: name, {field, value, ...}}.
local reply = {string.format('%.3f', now())}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  table.insert(reply, name)
  table.insert(reply, redis.call('HGETALL', ARGV[1] .. name))
end
return reply
