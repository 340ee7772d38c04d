-- End a worker in good order: messages that it has not handled return to the head of the line, as if never taken.
-- KEYS 1 worker  then, unless it is a source: 2 held  3 caught  4 queue  5 returned
-- ARGV 1 token
-- Returns the number of messages put back.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
make_way(KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'stopped', 'beat_at', string.format('%.3f', now()))
if not KEYS[2] then return 0 end
local back = redis.call('LLEN', KEYS[2])
while redis.call('LMOVE', KEYS[2], KEYS[5], 'RIGHT', 'LEFT') do end
while redis.call('LMOVE', KEYS[3], KEYS[4], 'RIGHT', 'LEFT') do end
return back
