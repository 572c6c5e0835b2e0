-- trim.lua: remove one slice of what retention no longer keeps, oldest first, and replies of lanes long silent.
-- Guarantee: only jobs in final states are removed, at most `limit`.
-- KEYS    see lib/queue.lua
-- ARGV    lane, sequence, channel (lib/lane.lua), 4 limit; then for completed, dead, poisoned, cancelled:
--         age ms at most, jobs at most
-- Reply   {'ok', now, removed, 1 there is more | 0} | {'superseded'} | {'other'}
local LANES_LOOKED_AT = 50 -- lanes one call looks at, at random
local open, last = lane_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
meet_all()

local left, removed, more = tonumber(ARGV[4]), 0, 0
for i, key in ipairs({ COMPLETED, DEAD, POISONED, CANCELLED }) do
  local age_ms, most = tonumber(ARGV[3 + 2 * i]), tonumber(ARGV[4 + 2 * i])
  local aged = call('ZCOUNT', key, '-inf', string.format('(%.0f', NOW - age_ms))
  local over = math.max(call('ZCARD', key) - most, aged)
  local now = math.min(over, left)
  if over > now then more = 1 end
  if now > 0 then
    local oldest, ids = call('ZPOPMIN', key, now), {}
    for k = 1, #oldest, 2 do ids[#ids + 1] = oldest[k] end
    forget(ids)
    left = left - now
    removed = removed + now
  end
end
count('trimmed', removed)
sweep_lanes(LANES_LOOKED_AT)
return lane_close({ 'ok', NOW, removed, more })
