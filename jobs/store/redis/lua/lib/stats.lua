-- lib/stats.lua: reads what scripts need of `stats`. A value that was edited by hand counts as missing.
local OUTCOME_WAIT_MS = 60000 -- the longest wait one call announces (OUTCOME_WAIT_MAX in jobs/limits.rs)
do
  local read = call('HMGET', STATS, 'paused', 'idle_until', 'stale', 'awaited_until', 'largest', 'lease_longest')
  PAUSED = read[1] == '1'
  IDLE_UNTIL = tonumber(read[2]) or 0
  STALE = tonumber(read[3]) or 0
  AWAITED_UNTIL = tonumber(read[4]) or 0
  -- An instant beyond the longest wait was written by hand, or before the clock went back.
  if not (AWAITED_UNTIL <= NOW + OUTCOME_WAIT_MS) then AWAITED_UNTIL = 0 end
  AWAITED = AWAITED_UNTIL > NOW
  LARGEST = largest_of(read[5])
  LONGEST_LEASE = tonumber(read[6])
end
