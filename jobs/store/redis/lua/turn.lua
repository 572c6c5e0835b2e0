-- turn.lua: settle, then claim, in one step and one round trip.
-- Guarantee: those of settle.lua and claim.lua.
-- KEYS    see lib/queue.lua
-- ARGV    lane, sequence, channel (lib/lane.lua), 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8),
--         8 completed jobs kept at most (0: none); then the groups of lib/settle.lua
-- Reply   {'ok' | 'paused', now, settled as in settle.lua, ids, bodies, pasts as in claim.lua} | {'superseded'}
local nonce = ARGV[7]
local open, last, at = lane_open()
if open == 'superseded' then return { 'superseded' } end
if open == 'again' then
  local ids, bodies, pasts = claimed(last[3], nonce)
  return { last[1], struct.unpack('>I6', at), last[2], ids, bodies, pasts }
end
local settled = settle(9, tonumber(ARGV[8]))
if PAUSED then
  lane_close({ 'paused', settled, {} })
  return { 'paused', NOW, settled, {}, {}, {} }
end
if pasts_kept == 0 then pasts_kept = call('HLEN', PAST) end
local ids, bodies, pasts = claim(tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), nonce)
lane_close({ 'ok', settled, ids })
return { 'ok', NOW, settled, ids, bodies, pasts }
