-- Extend leases, or give them back (seconds = 0). A lease that another worker has by now, or whose time is over, is
-- left alone.
-- KEYS 1 leases   ARGV 1 holder  2 seconds  3... name, token
-- Returns the names of those that are this holder's no more.
make_way(KEYS[1])
local t, lost = now(), {}
for i = 3, #ARGV, 2 do
  local token, till = leased(KEYS[1], ARGV[i])
  if token == ARGV[i + 1] and till > t then
    local seconds = tonumber(ARGV[2])
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%s %.3f %s', token, seconds > 0 and t + seconds or 0, ARGV[1]))
  else
    table.insert(lost, ARGV[i])
  end
end
return lost
