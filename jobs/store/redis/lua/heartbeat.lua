-- heartbeat.lua: write a worker's row, stamped with the server's clock, and drop old rows.
-- Guarantee: rows without a heartbeat for longer than ARGV 3 do not pile up, because each heartbeat checks some rows.
-- KEYS    1 workers, hash: instance -> seen at(6) row
-- ARGV    1 instance(16), 2 row, 3 age ms: how long a row is kept
-- Reply   {'ok'}
local ROWS_CHECKED_MAX = 10 -- rows one heartbeat checks, drawn at random
local workers, instance, row, age_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HDEL', workers, '') -- begin_writes in lib/write.lua
local sampled = redis.call('HRANDFIELD', workers, ROWS_CHECKED_MAX, 'WITHVALUES')
for i = 1, #sampled, 2 do
  if #sampled[i + 1] < 6 or struct.unpack('>I6', sampled[i + 1]) < now - age_ms then redis.call('HDEL', workers, sampled[i]) end
end
redis.call('HSET', workers, instance, struct.pack('>I6', now) .. row)
return { 'ok' }
