-- Take over cursors of a section that no longer works on them. The workers named in KEYS are fenced off: whatever they
-- still try has no effect. A cursor that the new owner has already stays as it is.
-- KEYS 1 cursors of the old owner  2 cursors of the new owner  3... workers to be fenced off
-- ARGV names of cursors
-- Returns the number of cursors taken.
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
