-- heartbeat.lua: write a worker's row, stamped with the server's clock, and drop rows of workers long gone.
-- Guarantee: the table holds no more than the workers that lived within the last `age`, give or take a few beats.
-- KEYS    1 workers
-- ARGV    1 instance(16), 2 row, 3 age ms
-- Reply   {'ok'}
local LOOKED_AT = 10 -- rows one beat looks at, at random
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local some = redis.call('HRANDFIELD', KEYS[1], LOOKED_AT, 'WITHVALUES')
for i = 1, #some, 2 do
  if #some[i + 1] < 6 or struct.unpack('>I6', some[i + 1]) < now - ARGV[3] then redis.call('HDEL', KEYS[1], some[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>I6', now) .. ARGV[2])
return { 'ok' }
