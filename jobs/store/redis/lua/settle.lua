-- settle.lua: end attempts.
-- Guarantee: at most one settlement wins per token, whatever the expiry; a stale one changes nothing.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then the groups of lib/settle.lua
-- Reply   {'ok', now, one char per id: its state (lib/state.lua), or s stale} | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
return replay_close({ 'ok', NOW, settle(4) })
