-- Everything known of every worker, at one instant.
-- KEYS 1 workers
-- ARGV 1 what keys of workers start with
-- Returns {now, then of each: name, {field, value, ...}}.
local reply = {string.format('%.3f', now())}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  table.insert(reply, name)
  table.insert(reply, redis.call('HGETALL', ARGV[1] .. name))
end
return reply
