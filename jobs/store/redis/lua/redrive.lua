-- redrive.lua: give dead, poisoned and cancelled jobs a fresh start at the back of `pending`, and move delayed ones there now.
-- Guarantee: a job is moved once, and its act is recorded (lib/acts.lua). A job whose body is too short to be run stays where it is. A fresh start resets failures, crashes and releases, but not attempts.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua; from 4 on see lib/target.lua
-- Reply   {'ok', now, two chars per job: its state (lib/state.lua) before and after. The same char twice means not moved,
--         '--' no such job} | {'superseded'} | {'taken'} (lib/replay.lua)
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
check_all_types()

local container = { d = DEAD, o = POISONED, x = CANCELLED, y = DELAYED }
local results, moving, leaving, retry_states, acted, moved_ids = {}, {}, {}, {}, {}, {}
for _, target in ipairs(targets()) do
  local id, state, retry, is_unchanged = unpack(target)
  if moved_ids[id] then
    -- The call names this job a second time; the first mention moved it.
    results[#results + 1] = 'pp'
  elseif is_unchanged and container[state] and call('HSTRLEN', JOB, id) >= HEADER then
    local attempts, failures, crashes, releases = counters_of(retry)
    if state ~= 'y' then failures, crashes, releases = 0, 0, 0 end
    moving[#moving + 1] = id
    moving[#moving + 1] = pack('>I4I4I4I4', attempts, failures, crashes, releases)
    local n = #acted
    acted[n + 1], acted[n + 2], acted[n + 3] = id, state, attempts
    local list = leaving[state] or {}
    list[#list + 1], leaving[state] = id, list
    moved_ids[id] = true
    results[#results + 1] = state .. 'p'
  else
    results[#results + 1] = state .. state
  end
end
local history = acts_after('r', OPERATOR, acted)
for state, list in pairs(leaving) do
  if state == 'y' then call_in_chunks('ZREM', DELAYED, list) else remove_ended(container[state], list) end
end
push('RPUSH', moving, retry_states)
put(RETRY, retry_kept, retry_states)
put(HISTORY, histories_kept, history)
return replay_close({ 'ok', NOW, table.concat(results) })
