-- lib/target.lua: the jobs an operator acts on, each with what the operator saw.
-- ARGV    from 4 on, pairs: id, '' or what it was seen as: state (lib/state.lua) attempts(4)

-- Reads all of them at once, at most BATCH_MAX. Returns for each { id, state or '-', its retry state or false, whether it is
-- still what was seen }.
local function targets()
  local ids, n = {}, 0
  for i = 4, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
  if n == 0 then return {} end
  local containers = containers_of(ids, #CONTAINERS)
  local retry_states, grants = call('HMGET', RETRY, unpack(ids)), call('HMGET', GRANT, unpack(ids))
  local found = {}
  for k = 1, n do
    local state = '-'
    if call('HEXISTS', JOB, ids[k]) == 1 then state = containers[k] and STATE_CODES[containers[k]] or 'p' end
    local seen, as_seen = ARGV[3 + 2 * k], true
    if seen ~= '' then
      local attempts = counters_of(retry_states[k])
      if state == 'l' and grants[k] and #grants[k] == GRANT_LEN then attempts = struct.unpack('>I4', grants[k]) end
      if state == 'c' and not retry_states[k] then attempts = 1 end
      as_seen = seen == state .. pack('>I4', attempts)
    end
    found[k] = { ids[k], state, retry_states[k], as_seen }
  end
  return found
end
