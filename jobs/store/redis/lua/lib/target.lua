-- lib/target.lua: the jobs an operator acts on ("targets"), each with the state it was seen in.
-- ARGV    4 the name of the operator, at most 255 bytes; from 5 on, pairs: id, then how the operator saw the job: its state (lib/state.lua) and attempts(4), or '' for any

local OPERATOR = ARGV[4]

-- Reads all targets at once, at most 200 (BATCH_MAX in jobs/limits.rs). Returns for each { id, state or '-' for no such job, retry
-- state or false, whether the job still is as the operator saw it }.
local function targets()
  local ids, n = {}, 0
  for i = 5, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
  if n == 0 then return {} end
  local containers = containers_of(ids, #CONTAINERS)
  local retry_states, grants = call('HMGET', RETRY, unpack(ids)), call('HMGET', GRANT, unpack(ids))
  local found = {}
  for k = 1, n do
    local state = '-'
    if call('HEXISTS', JOB, ids[k]) == 1 then state = containers[k] and STATE_CODES[containers[k]] or 'p' end
    local seen_as, is_unchanged = ARGV[4 + 2 * k], true
    if seen_as ~= '' then
      local attempts = counters_of(retry_states[k])
      if state == 'l' and grants[k] and #grants[k] == GRANT_LEN then attempts = struct.unpack('>I4', grants[k]) end
      if state == 'c' and not retry_states[k] then attempts = 1 end
      is_unchanged = seen_as == state .. pack('>I4', attempts)
    end
    found[k] = { ids[k], state, retry_states[k], is_unchanged }
  end
  return found
end
