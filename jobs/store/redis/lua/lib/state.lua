-- lib/state.lua: reads the state of a job, which is the container it is in, as one letter:
-- l processing (leased), y delayed, c completed, d dead, o poisoned, x cancelled; p pending, when no sorted set has the job
local function state_of(id)
  if call('ZSCORE', LEASE, id) then return 'l' end
  if call('ZSCORE', DELAYED, id) then return 'y' end
  if call('ZSCORE', COMPLETED, id) then return 'c' end
  if call('ZSCORE', DEAD, id) then return 'd' end
  if call('ZSCORE', POISONED, id) then return 'o' end
  if call('ZSCORE', CANCELLED, id) then return 'x' end
  return 'p'
end
