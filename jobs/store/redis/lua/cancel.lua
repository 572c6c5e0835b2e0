-- cancel.lua: cancel jobs.
-- Guarantee: a waiting job is cancelled at once; a running one is asked to stop, and keeps its lease and its token.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then targets (lib/target.lua)
-- Reply   as in redrive.lua; 'la': it runs and is asked to stop | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
check_all_types()

local results, cancelled, retry_states, seen, delayed, requested = {}, {}, {}, {}, {}, {}
local stale = 0
for _, target in ipairs(targets()) do
  local id, state, retry, as_seen = unpack(target)
  if seen[id] then
    -- Named twice: it is already cancelled.
    results[#results + 1] = 'xx'
  elseif as_seen and (state == 'p' or state == 'y') then
    seen[id] = true
    cancelled[#cancelled + 1] = NOW_TEXT
    cancelled[#cancelled + 1] = id
    if state == 'p' then
      -- Its entry stays in the list and becomes stale.
      stale = stale + 1
      retry_states[#retry_states + 1] = id
      retry_states[#retry_states + 1] = pack('>I4I4I4I4', counters_of(retry)) .. NO_VERSION
    else
      delayed[#delayed + 1] = id
    end
    results[#results + 1] = state .. 'x'
    note_ended(id, 'x')
  elseif as_seen and state == 'l' then
    local g = call('HGET', GRANT, id)
    if g and #g == GRANT_LEN then
      local flags = byte(g, GRANT_LEN)
      if flags % 2 ~= CANCEL then flags = flags + CANCEL end
      requested[#requested + 1] = { id, sub(g, 1, GRANT_LEN - 1) .. string.char(flags) }
    end
    results[#results + 1] = 'la'
  else
    results[#results + 1] = state .. state
  end
end
each('ZREM', DELAYED, delayed)
each('ZADD', CANCELLED, cancelled)
put(RETRY, retry_kept, retry_states)
count('stale', stale)
for i = 1, #requested do
  call('HSET', GRANT, requested[i][1], requested[i][2])
  redis.pcall('PUBLISH', WAKE, 'cancel:' .. requested[i][1])
end
return replay_close({ 'ok', NOW, table.concat(results) })
