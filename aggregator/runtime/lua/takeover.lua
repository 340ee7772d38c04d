-- Take over cursors of a section that has them no more. Its workers that are named are fenced off: what one of them may
-- still try has no effect. A cursor that the new owner has already stays as it is.
-- KEYS 1 cursors of the one that had them  2 of the new one  3... workers to be fenced off
-- ARGV names of cursors
-- Returns how many were taken.
local taken = 0
for i = 1, #KEYS do
  local wrong = mistyped('hash', KEYS[i])
  if wrong then return wrong end
end
make_way(KEYS[1])
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HINCRBY', KEYS[i], 'token', 1) end
end
for _, name in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], name)
  if value and redis.call('HSETNX', KEYS[2], name, value) == 1 then
    redis.call('HDEL', KEYS[1], name)
    taken = taken + 1
  end
end
return taken
