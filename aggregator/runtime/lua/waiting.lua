-- KEYS 1 timers of a queue  2... every other key that may hold messages of the queue, but for its dead letters
-- Returns the keys of the timers, or nothing when a message is under way.
if redis.call('EXISTS', unpack(KEYS, 2)) > 0 then return nil end
return redis.call('ZRANGE', KEYS[1], 0, -1)
