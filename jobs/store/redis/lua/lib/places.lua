-- lib/places.lua: the sorted sets a job can be in, in the order in which its state is read from them (lib/state.lua).
local PLACES, LETTERS = { LEASE, DELAYED, COMPLETED, DEAD, POISONED, CANCELLED }, { 'l', 'y', 'c', 'd', 'o', 'x' }

-- The first of the first `n` places that each id is in, as a number, or false; at most 2000 ids.
local function places_of(ids, n)
  local found = {}
  for k = 1, #ids do found[k] = false end
  for i = #ids > 0 and n or 0, 1, -1 do
    local scores = call('ZMSCORE', PLACES[i], unpack(ids))
    for k = 1, #ids do
      if scores[k] then found[k] = i end
    end
  end
  return found
end
