-- pause.lua: pause or resume claiming.
-- Guarantee: running jobs continue; resuming publishes the hint that jobs can be claimed.
-- KEYS    see lib/queue.lua
-- ARGV    1 'pause' | 'resume', 2 hint channel
-- Reply   {'ok', 1 | 0: whether the queue was paused before}
local verb, channel = ARGV[1], ARGV[2]
begin_writes()
if verb == 'pause' then
  call('HSET', STATS, 'paused', 1)
else
  call('HDEL', STATS, 'paused')
  if PAUSED then redis.pcall('PUBLISH', channel, 'pending') end
end
return { 'ok', PAUSED and 1 or 0 }
