-- discard.lua: delete jobs with everything kept about them.
-- Guarantee: a processing job is left alone. Each deleted job leaves a tombstone. Once FREED_BYTES_MAX are freed the rest of the targets is left
-- alone and has no result: they are for a further call.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua; from 4 on see lib/target.lua
-- Reply   as in redrive.lua; '-' as the second char: the job is deleted | {'superseded'} | {'taken'} (lib/replay.lua)
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
check_all_types()
call('LLEN', TOMBSTONES) -- type check (lib/queue.lua)

local container = { d = DEAD, o = POISONED, x = CANCELLED, y = DELAYED, c = COMPLETED }
local results, removed, contained, state_before, stale, freed = {}, {}, {}, {}, 0, 0
for _, target in ipairs(targets()) do
  if freed >= FREED_BYTES_MAX then break end
  local id, state, _, is_unchanged = unpack(target)
  if state_before[id] then state = '-' end
  if state == '-' or state == 'l' or not is_unchanged then
    results[#results + 1] = state .. state
  else
    state_before[id] = state
    removed[#removed + 1], freed = id, freed + excess_of(id)
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
local ended_at, tombstones = {}, {}
for state, list in pairs(contained) do
  local scores = state == 'y' and {} or call('ZMSCORE', container[state], unpack(list))
  for k = 1, #list do ended_at[list[k]] = scores[k] end
end
for k, id in ipairs(removed) do tombstones[k] = tombstone(id, state_before[id], 'x', ended_at[id], OPERATOR) end
for state, list in pairs(contained) do
  if state == 'y' then call_in_chunks('ZREM', DELAYED, list) else remove_ended(container[state], list) end
end
delete_jobs(removed)
add_tombstones(tombstones)
count('stale', stale)
return replay_close({ 'ok', NOW, table.concat(results) })
