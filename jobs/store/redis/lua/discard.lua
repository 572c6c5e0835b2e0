-- discard.lua: remove jobs with everything kept of them.
-- Guarantee: one that runs is left alone.
-- KEYS    see lib/queue.lua
-- ARGV    lane, sequence, channel (lib/lane.lua); then targets (lib/target.lua)
-- Reply   as in redrive.lua; a second char '-': removed | {'superseded'} | {'other'}
local open, last = lane_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
meet_all()

local container = { d = DEAD, o = POISONED, x = CANCELLED, y = DELAYED, c = COMPLETED }
local results, removed, contained, seen, stale = {}, {}, {}, {}, 0
for _, target in ipairs(targets()) do
  local id, state, _, met = unpack(target)
  if seen[id] then state = '-' end
  if state == '-' or state == 'l' or not met then
    results[#results + 1] = state .. state
  else
    seen[id] = true
    removed[#removed + 1] = id
    if state == 'p' then stale = stale + 1 else contained[#contained + 1] = { container[state], id } end
    results[#results + 1] = state .. '-'
  end
end
for i = 1, #contained do call('ZREM', contained[i][1], contained[i][2]) end
forget(removed)
count('stale', stale)
return lane_close({ 'ok', NOW, table.concat(results) })
