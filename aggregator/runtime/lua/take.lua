-- Take leases of a pool that nobody has, whose time is over, or that this holder has already.
-- KEYS 1 leases   ARGV 1 holder  2 seconds  3 the most to take  4... names, the wanted ones first
-- Returns {name, token, ...} of those that were taken. A token is greater than all that were given before for its name.
make_way(KEYS[1])
local t, taken = now(), {}
for i = 4, #ARGV do
  if #taken / 2 >= tonumber(ARGV[3]) then break end
  local token, till = leased(KEYS[1], ARGV[i])
  local holder = string.match(redis.call('HGET', KEYS[1], ARGV[i]) or '', '^%d+ [%d.]+ (.*)$')
  if till <= t or holder == ARGV[1] then
    token = string.format('%.0f', math.max(tonumber(token) + 1, math.floor(t * 1000000)))
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%s %.3f %s', token, t + tonumber(ARGV[2]), ARGV[1]))
    table.insert(taken, ARGV[i])
    table.insert(taken, token)
  end
end
return taken
