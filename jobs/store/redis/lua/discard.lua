-- discard.lua: delete jobs with everything kept about them.
-- Guarantee: a running job is left alone.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then targets (lib/target.lua)
-- Reply   as in redrive.lua; a second char '-': deleted | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
check_all_types()

local container = { d = DEAD, o = POISONED, x = CANCELLED, y = DELAYED, c = COMPLETED }
local results, removed, contained, seen, stale = {}, {}, {}, {}, 0
for _, target in ipairs(targets()) do
  local id, state, _, as_seen = unpack(target)
  if seen[id] then state = '-' end
  if state == '-' or state == 'l' or not as_seen then
    results[#results + 1] = state .. state
  else
    seen[id] = true
    removed[#removed + 1] = id
    if state == 'p' then
      stale = stale + 1
    else
      local list = contained[state] or {}
      list[#list + 1], contained[state] = id, list
    end
    results[#results + 1] = state .. '-'
    note_ended(id, '-')
  end
end
for state, list in pairs(contained) do each('ZREM', container[state], list) end
forget(removed)
count('stale', stale)
return replay_close({ 'ok', NOW, table.concat(results) })
