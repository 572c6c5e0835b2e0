-- settle.lua: settle jobs, which ends their attempts.
-- Guarantee: at most one settlement per lease counts. It counts even after the lease expired, until the lease is reclaimed. A stale
-- settlement changes no job.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua; then the groups of lib/settle.lua
-- Reply   {'ok', now, one char per id: its state (lib/state.lua), or s stale} | {'superseded'} | {'taken'} (lib/replay.lua)
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
return replay_close({ 'ok', NOW, settle(4) })
