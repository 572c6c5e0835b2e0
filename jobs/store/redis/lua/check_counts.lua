-- check_counts.lua: count the jobs and the members of the containers, to check that every job is in exactly one container, and that the bytes
-- of ended jobs are counted.
-- Guarantee: reads only; scans nothing, so it costs the same on any queue.
-- KEYS    see lib/queue.lua
-- ARGV    none
-- Reply   {'ok', jobs, entries of pending, stale entries as stats counts them, jobs in the other containers,
--         leases - grants, jobs ever enqueued, the number before the sequence of the first of them, ended jobs whose bytes are not counted}
local leases, grants = call('ZCARD', LEASE), call('HLEN', GRANT)
if leases > 0 and call('ZSCORE', LEASE, ENCODING_SENTINEL) then leases = leases - 1 end
if grants > 0 then grants = grants - call('HEXISTS', GRANT, ENCODING_SENTINEL) end
local contained = leases
for i = 4, 8 do contained = contained + call('ZCARD', KEYS[i]) end -- delayed to cancelled
local totals = call('HMGET', STATS, 'enqueued', 'sequence', 'excess_completed', 'excess_dead', 'excess_poisoned', 'excess_cancelled')
local enqueued, sequence = tonumber(totals[1]) or 0, tonumber(totals[2]) or 0
-- A queue that knows no largest body has lost `stats`, and with it the bytes in states that have no value now (lib/kept.lua).
local uncounted = 0
for i = 5, 8 do
  if not LARGEST and not totals[i - 2] then uncounted = uncounted + call('ZCARD', KEYS[i]) end
end
return { 'ok', call('HLEN', JOB), call('LLEN', PENDING), math.max(STALE, 0), contained, leases - grants, math.max(enqueued, 0),
  math.max(sequence - enqueued, 0), uncounted }
