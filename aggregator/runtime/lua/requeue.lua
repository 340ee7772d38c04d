-- Put dead letters back ahead of their queue with a fresh history; their bodies stay as they are, byte for byte.
-- KEYS 1 dead  2 returned
-- ARGV ids
-- Returns the number of letters put back.
local moved = 0
make_way(KEYS[1])
for _, id in ipairs(ARGV) do
  local entry = redis.call('HGET', KEYS[1], id)
  if entry then
    local _, body = split(entry)
    redis.call('RPUSH', KEYS[2], '!{"id":' .. id .. '}\n' .. body)
    redis.call('HDEL', KEYS[1], id)
    moved = moved + 1
  end
end
return moved
