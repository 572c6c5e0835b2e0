-- trim.lua: delete one slice of what retention no longer keeps, oldest first, and the replies of idle replay slots.
-- Guarantee: only jobs in final states are deleted, at most `limit`.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit; then for completed, dead, poisoned, cancelled:
--         age ms at most, jobs at most
-- Reply   {'ok', now, deleted, 1 there is more | 0} | {'superseded'} | {'other'}
local SLOTS_SCANNED_MAX = 50 -- replay slots one call checks, drawn at random
local limit = tonumber(ARGV[4])
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
local FINAL = { COMPLETED, DEAD, POISONED, CANCELLED }
local over, any = {}, false
for i, key in ipairs(FINAL) do
  local age_ms, count_max, held = tonumber(ARGV[3 + 2 * i]), tonumber(ARGV[4 + 2 * i]), call('ZCARD', key)
  over[i] = held == 0 and 0 or math.max(held - count_max, call('ZCOUNT', key, '-inf', string.format('(%.0f', NOW - age_ms)))
  any = any or over[i] > 0
end

local left, removed, more = limit, 0, 0
if any then check_all_types() end
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
sweep_replay_slots(SLOTS_SCANNED_MAX)
return replay_close({ 'ok', NOW, removed, more })
