-- lib/target.lua: the jobs an operator acts on, each as it was seen.
-- ARGV from 4 on: pairs: id, '' or what it was seen as: state (lib/state.lua) attempts(4)

-- Reads all of them at once. Gives { id, state or '-', its `past` or nothing, whether it is still what was seen } each;
-- at most BATCH_MAX.
local function targets()
  local ids, n = {}, 0
  for i = 4, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
  if n == 0 then return {} end
  local places = places_of(ids, #PLACES)
  local pasts, grants = call('HMGET', PAST, unpack(ids)), call('HMGET', GRANT, unpack(ids))
  local found = {}
  for k = 1, n do
    local state = '-'
    if call('HEXISTS', JOB, ids[k]) == 1 then state = places[k] and LETTERS[places[k]] or 'p' end
    local seen, met = ARGV[3 + 2 * k], true
    if seen ~= '' then
      local attempts = counters_of(pasts[k])
      if state == 'l' and grants[k] and #grants[k] == GRANT_LEN then attempts = struct.unpack('>I4', grants[k]) end
      if state == 'c' and not pasts[k] then attempts = 1 end
      met = seen == state .. pack('>I4', attempts)
    end
    found[k] = { ids[k], state, pasts[k], met }
  end
  return found
end
