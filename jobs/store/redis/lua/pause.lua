-- pause.lua: stop or resume claiming.
-- Guarantee: jobs that run go on; resuming wakes whoever waits.
-- KEYS    see lib/queue.lua
-- ARGV    1 '1' stop or '0' resume, 2 wake-up channel
-- Reply   {'ok', 1 it was stopped before | 0}
if ARGV[1] == '1' then
  call('HSET', STATS, 'paused', 1)
else
  call('HDEL', STATS, 'paused')
  if PAUSED then call('PUBLISH', ARGV[2], 'pending') end
end
return { 'ok', PAUSED and 1 or 0 }
