-- promote.lua: move jobs that are due to the ready list, and wake a sleeping cycle for them.
-- Guarantee: no job is in both delayed and ready.
-- KEYS    1 delayed, a zset; 2 ready, a list; 3 wake, a list
-- ARGV    1 now ms, 2 most jobs
-- Reply   {moved, due time of the next in ms, or '' when there is none}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('LPUSH', KEYS[2], unpack(ids))
  redis.call('LPUSH', KEYS[3], '')
end
return { #ids, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '' }
