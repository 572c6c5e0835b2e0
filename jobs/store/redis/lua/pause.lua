-- pause.lua: pause or resume claiming.
-- Guarantee: running jobs continue; resuming publishes the hint that jobs can be claimed. The first pause tells since when and by whom the queue
-- is paused; another one changes nothing.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 'pause' | 'resume', 5 the name of the operator who pauses, at most 255 bytes
-- Reply   {'ok', now, 1 | 0: whether the queue was paused before} | {'superseded'} | {'taken'} (lib/replay.lua)
local verb, operator = ARGV[4], ARGV[5]
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
if verb == 'resume' then
  call('HDEL', STATS, 'paused', 'paused_at', 'paused_by')
elseif not PAUSED then
  call('HSET', STATS, 'paused', 1, 'paused_at', NOW_TEXT, 'paused_by', operator)
end
local reply = replay_close({ 'ok', NOW, PAUSED and 1 or 0 })
if verb == 'resume' and PAUSED then redis.pcall('PUBLISH', HINT_CHANNEL, 'pending') end
return reply
