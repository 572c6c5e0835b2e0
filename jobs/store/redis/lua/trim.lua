-- trim.lua: delete jobs that retention no longer keeps, the oldest of each state first. Remove some idle replay slots as well.
-- Guarantee: only jobs in final states are deleted, at most `limit` per call.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit; then for completed, dead, poisoned, cancelled:
--         most age in ms, most jobs
-- Reply   {'ok', now, deleted, 1 | 0: whether more can be deleted} | {'superseded'} | {'other'} (lib/replay.lua)
local SLOTS_SCANNED_MAX = 50 -- most replay slots one call checks, drawn at random
local limit = tonumber(ARGV[4])
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'other' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
local FINAL = { COMPLETED, DEAD, POISONED, CANCELLED }
local surplus, any_surplus = {}, false
for i, key in ipairs(FINAL) do
  local age_ms, count_max, kept_count = tonumber(ARGV[3 + 2 * i]), tonumber(ARGV[4 + 2 * i]), call('ZCARD', key)
  surplus[i] = kept_count == 0 and 0 or math.max(kept_count - count_max, call('ZCOUNT', key, '-inf', string.format('(%.0f', NOW - age_ms)))
  any_surplus = any_surplus or surplus[i] > 0
end

local left, removed_count, more = limit, 0, 0
if any_surplus then check_all_types() end
for i, key in ipairs(FINAL) do
  local count_now = math.min(surplus[i], left)
  if surplus[i] > count_now then more = 1 end
  if count_now > 0 then
    local oldest, ids = call('ZPOPMIN', key, count_now), {}
    for k = 1, #oldest, 2 do ids[#ids + 1] = oldest[k] end
    forget(ids)
    left = left - count_now
    removed_count = removed_count + count_now
  end
end
count('trimmed', removed_count)
sweep_replay_slots(SLOTS_SCANNED_MAX)
return replay_close({ 'ok', NOW, removed_count, more })
