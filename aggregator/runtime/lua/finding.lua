-- Store losses that a human must hear of in the hash that outlives the process. Harmless when repeated: a loss that is
-- there already keeps the time of its beginning and gets the newer text.
-- KEYS 1 findings
-- ARGV 1 the most losses to store  2... field, value (JSON whose first member is `since`) of each
-- Returns the number of losses stored.
make_way(KEYS[1])
for i = 2, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local since = known and string.match(known, '^{"since":([%d.]+),')
  if since then
    redis.call('HSET', KEYS[1], ARGV[i], '{"since":' .. since .. string.sub(ARGV[i + 1], string.find(ARGV[i + 1], ',', 1, true), -1))
  elseif redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return redis.call('HLEN', KEYS[1])
