-- cancel.lua: cancel jobs.
-- Guarantee: a pending or delayed job is cancelled at once. For a processing job the cancellation is requested, and the job keeps its
-- lease and its token. Either is recorded (lib/acts.lua); a second request for the same attempt is not.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua; from 4 on see lib/target.lua
-- Reply   as in redrive.lua; 'la': processing, and its cancellation is requested | {'superseded'} | {'taken'} (lib/replay.lua)
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
check_all_types()

local results, cancelled, retry_states, cancelled_ids, delayed, requested, acted = {}, {}, {}, {}, {}, {}, {}
local stale = 0
local function note(id, state, attempts)
  local n = #acted
  acted[n + 1], acted[n + 2], acted[n + 3] = id, state, attempts
end
for _, target in ipairs(targets()) do
  local id, state, retry, is_unchanged = unpack(target)
  if cancelled_ids[id] then
    -- The call names this job a second time; the first mention cancelled it.
    results[#results + 1] = 'xx'
  elseif is_unchanged and (state == 'p' or state == 'y') then
    cancelled_ids[id] = true
    cancelled[#cancelled + 1] = NOW_TEXT
    cancelled[#cancelled + 1] = id
    if state == 'p' then
      -- The entry stays in pending and becomes stale.
      stale = stale + 1
      retry_states[#retry_states + 1] = id
      retry_states[#retry_states + 1] = pack('>I4I4I4I4', counters_of(retry)) .. NO_VERSION
    else
      delayed[#delayed + 1] = id
    end
    note(id, state, (counters_of(retry)))
    results[#results + 1] = state .. 'x'
    note_ended(id, 'x')
  elseif is_unchanged and state == 'l' then
    local g = call('HGET', GRANT, id)
    if g and #g == GRANT_LEN then
      local flags = byte(g, GRANT_LEN)
      if flags % 2 ~= CANCEL then
        flags = flags + CANCEL
        note(id, state, (struct.unpack('>I4', g)))
      end
      requested[#requested + 1] = { id, sub(g, 1, GRANT_LEN - 1) .. string.char(flags) }
    end
    results[#results + 1] = 'la'
  else
    results[#results + 1] = state .. state
  end
end
local history = acts_after('c', OPERATOR, acted)
call_in_chunks('ZREM', DELAYED, delayed)
add_ended(CANCELLED, cancelled)
put(RETRY, retry_kept, retry_states)
put(HISTORY, histories_kept, history)
count('stale', stale)
for i = 1, #requested do
  call('HSET', GRANT, requested[i][1], requested[i][2])
  redis.pcall('PUBLISH', HINT_CHANNEL, 'cancel:' .. requested[i][1])
end
return replay_close({ 'ok', NOW, table.concat(results) })
