-- lib/containers.lua: the sorted sets a job can be in, in the order in which its state is read from them (lib/state.lua).
local CONTAINERS, STATE_CODES = { LEASE, DELAYED, COMPLETED, DEAD, POISONED, CANCELLED }, { 'l', 'y', 'c', 'd', 'o', 'x' }

-- Looks for each id in the first `n` containers. Returns for each id the index of the first container that has it, or false. Takes at
-- most 2000 ids, like one call in `call_in_chunks` (lib/write.lua).
local function containers_of(ids, n)
  local found = {}
  for k = 1, #ids do found[k] = false end
  for i = #ids > 0 and n or 0, 1, -1 do
    local scores = call('ZMSCORE', CONTAINERS[i], unpack(ids))
    for k = 1, #ids do
      if scores[k] then found[k] = i end
    end
  end
  return found
end
