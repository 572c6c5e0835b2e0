-- settle_and_claim.lua: settle, then claim, in one step and one round trip.
-- Guarantee: those of settle.lua and claim.lua.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8),
--         8 '1' numbered | '0'; then the groups of lib/settle.lua
-- Reply   {'ok' | 'paused', now, ids, bodies, retry states as in claim.lua, settled: as in settle.lua, cut short and number as in claim.lua}
--         | {'superseded'} | {'taken'} (lib/replay.lua)
local limit, lease_ms, bytes_max, nonce = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local status, stored_reply, stored_at = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then
  local ids, bodies, retry_states = still_held(stored_reply[2], nonce)
  return { stored_reply[1], struct.unpack('>I6', stored_at), ids, bodies, retry_states, stored_reply[3], stored_reply[4] or 0, stored_reply[5] or 0 }
end
begin_writes()
local size_estimate = check_types_and_size_front()
local settled = settle(9)
if PAUSED then
  replay_close({ 'paused', {}, settled })
  return { 'paused', NOW, {}, {}, {}, settled, 0, 0 }
end
local ids, bodies, retry_states = claim(limit, lease_ms, bytes_max, nonce, size_estimate)
local number = number_of_claim(ARGV[8] == '1', #ids)
replay_close({ 'ok', ids, settled, cut_short, number })
return { 'ok', NOW, ids, bodies, retry_states, settled, cut_short, number }
