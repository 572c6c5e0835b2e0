-- audit.lua: count whether every job is in exactly one container.
-- Guarantee: reads only; counts, not scans, so that it costs the same on any queue.
-- KEYS    see lib/queue.lua
-- ARGV    none
-- Reply   {'ok', jobs, entries of pending, stale entries as counted, jobs in the other containers, leases - grants}
meet_all()
local leases = leases_kept - (call('ZSCORE', LEASE, ROOM) and 1 or 0)
local grants = grants_kept - call('HEXISTS', GRANT, ROOM)
local contained = leases + completed_kept + call('ZCARD', DELAYED) + call('ZCARD', DEAD) + call('ZCARD', POISONED)
  + call('ZCARD', CANCELLED)
return { 'ok', call('HLEN', JOB), call('LLEN', PENDING), math.max(STALE, 0), contained, leases - grants }
