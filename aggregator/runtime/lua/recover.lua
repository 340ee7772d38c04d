-- Take over the messages of a silent worker. Raising its token makes all its later calls ineffective. Nothing happens
-- when it has shown life since it was looked at.
-- KEYS 1 its worker  2 its held  3 its caught  4 queue  5 returned  6 serial
-- ARGV 1 its token  2 its last beat
-- Returns the number of messages put back, or -1 when the worker is alive.
local seen = redis.call('HMGET', KEYS[1], 'token', 'beat')
if (seen[1] or '') ~= ARGV[1] or (seen[2] or '') ~= ARGV[2] then return -1 end
make_way(KEYS[1])
redis.call('HINCRBY', KEYS[1], 'token', 1)
return put_back(KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
