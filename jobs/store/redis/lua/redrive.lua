-- redrive.lua: give ended jobs a fresh start at the back of `pending`, and move delayed ones there now.
-- Guarantee: a job is moved once, from the state it is found in; attempts and releases keep counting.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then targets (lib/target.lua)
-- Reply   {'ok', now, two chars per job: its state before and after (lib/state.lua); the same twice: refused;
--         '--': no such job} | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
check_all_types()

local container = { d = DEAD, o = POISONED, x = CANCELLED, y = DELAYED }
local results, moving, leaving, retry_states, seen = {}, {}, {}, {}, {}
for _, target in ipairs(targets()) do
  local id, state, retry, as_seen = unpack(target)
  if seen[id] then
    -- Named twice: it is already pending.
    results[#results + 1] = 'pp'
  elseif as_seen and container[state] then
    local attempts, failures, crashes, releases = counters_of(retry)
    if state ~= 'y' then failures, crashes = 0, 0 end
    moving[#moving + 1] = id
    moving[#moving + 1] = pack('>I4I4I4I4', attempts, failures, crashes, releases)
    local list = leaving[state] or {}
    list[#list + 1], leaving[state] = id, list
    seen[id] = true
    results[#results + 1] = state .. 'p'
  else
    results[#results + 1] = state .. state
  end
end
for state, list in pairs(leaving) do each('ZREM', container[state], list) end
push('RPUSH', moving, retry_states)
put(RETRY, retry_kept, retry_states)
return replay_close({ 'ok', NOW, table.concat(results) })
