-- trim.lua: remove one slice of what retention no longer keeps, oldest first, and replies of replay slots long silent.
-- Guarantee: only jobs in final states are removed, at most `limit`.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit; then for completed, dead, poisoned, cancelled:
--         age ms at most, jobs at most
-- Reply   {'ok', now, removed, 1 there is more | 0} | {'superseded'} | {'other'}
local REPLAY_SLOTS_LOOKED_AT = 50 -- replay slots one call looks at, at random
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
local FINAL = { COMPLETED, DEAD, POISONED, CANCELLED }
local over, any = {}, false
for i, key in ipairs(FINAL) do
  local age_ms, most, held = tonumber(ARGV[3 + 2 * i]), tonumber(ARGV[4 + 2 * i]), call('ZCARD', key)
  over[i] = held == 0 and 0 or math.max(held - most, call('ZCOUNT', key, '-inf', string.format('(%.0f', NOW - age_ms)))
  any = any or over[i] > 0
end

local left, removed, more = tonumber(ARGV[4]), 0, 0
if any then meet_all() end
for i, key in ipairs(FINAL) do
  local now = math.min(over[i], left)
  if over[i] > now then more = 1 end
  if now > 0 then
    local oldest, ids = call('ZPOPMIN', key, now), {}
    for k = 1, #oldest, 2 do ids[#ids + 1] = oldest[k] end
    forget(ids)
    left = left - now
    removed = removed + now
  end
end
count('trimmed', removed)
sweep_replay_slots(REPLAY_SLOTS_LOOKED_AT)
return replay_close({ 'ok', NOW, removed, more })
