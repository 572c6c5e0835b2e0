-- settle_and_claim.lua: settle, then claim, in one step and one round trip.
-- Guarantee: those of settle.lua and claim.lua.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8);
--         then the groups of lib/settle.lua
-- Reply   {'ok' | 'paused', now, ids, bodies, retry states as in claim.lua, settled as in settle.lua}
--         | {'superseded'} | {'other'}
local limit, lease_ms, bytes_max, nonce = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local open, last, at = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then
  local ids, bodies, retry_states = claimed(last[2], nonce)
  return { last[1], struct.unpack('>I6', at), ids, bodies, retry_states, last[3] }
end
local size = size_of_front()
local settled = settle(8)
if PAUSED then
  replay_close({ 'paused', {}, settled })
  return { 'paused', NOW, {}, {}, {}, settled }
end
local ids, bodies, retry_states = claim(limit, lease_ms, bytes_max, nonce, size)
replay_close({ 'ok', ids, settled })
return { 'ok', NOW, ids, bodies, retry_states, settled }
