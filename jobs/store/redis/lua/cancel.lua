-- cancel.lua: call jobs off.
-- Guarantee: one that waits is cancelled at once; one that runs is asked, and keeps its lease and its token.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then targets (lib/target.lua)
-- Reply   as in redrive.lua; 'la': it runs and is asked | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
meet_all()

local results, called_off, pasts, seen, delayed, asked = {}, {}, {}, {}, {}, {}
local stale = 0
for _, target in ipairs(targets()) do
  local id, state, p, met = unpack(target)
  if seen[id] then
    -- Named twice: it is cancelled now.
    results[#results + 1] = 'xx'
  elseif met and (state == 'p' or state == 'y') then
    seen[id] = true
    called_off[#called_off + 1] = NOW_TEXT
    called_off[#called_off + 1] = id
    if state == 'p' then
      -- Its entry stays in the list and is dead.
      stale = stale + 1
      pasts[#pasts + 1] = id
      pasts[#pasts + 1] = pack('>I4I4I4I4', counters_of(p)) .. NO_VERSION
    else
      delayed[#delayed + 1] = id
    end
    results[#results + 1] = state .. 'x'
  elseif met and state == 'l' then
    local g = call('HGET', GRANT, id)
    if g and #g == GRANT_LEN then
      local flags = byte(g, GRANT_LEN)
      if flags % 2 ~= CANCEL then flags = flags + CANCEL end
      asked[#asked + 1] = { id, sub(g, 1, GRANT_LEN - 1) .. string.char(flags) }
    end
    results[#results + 1] = 'la'
  else
    results[#results + 1] = state .. state
  end
end
each('ZREM', DELAYED, delayed)
each('ZADD', CANCELLED, called_off)
put(PAST, pasts_kept, pasts)
count('stale', stale)
for i = 1, #asked do
  call('HSET', GRANT, asked[i][1], asked[i][2])
  call('PUBLISH', WAKE, 'cancel:' .. asked[i][1])
end
return replay_close({ 'ok', NOW, table.concat(results) })
