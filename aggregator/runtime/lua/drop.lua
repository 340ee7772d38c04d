-- Delete dead letters, and count them in the books as dropped by an operator.
-- KEYS 1 dead  2 books
-- ARGV ids
-- Returns the number of letters deleted.
local gone = 0
for i = 1, #ARGV, 4000 do
  gone = gone + redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 3999, #ARGV)))
end
if gone > 0 then redis.call('HINCRBY', KEYS[2], 'dropped:operator', gone) end
return gone
