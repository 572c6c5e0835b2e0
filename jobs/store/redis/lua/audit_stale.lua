-- audit_stale.lua: recount the stale entries of `pending` from the sizes of all containers.
-- Guarantee: correct when every job is in one container; costs the same on any queue.
-- KEYS    see lib/queue.lua
-- ARGV    1 '1' repair | '0'
-- Reply   {'ok', stale entries as counted, stale entries as recounted}
local repair = ARGV[1] == '1'
check_all_types()
local contained = leases_kept - (call('ZSCORE', LEASE, ENCODING_SENTINEL) and 1 or 0)
for i = 7, 11 do contained = contained + call('ZCARD', KEYS[i]) end
local stale = math.max(0, call('LLEN', PENDING) + contained - call('HLEN', JOB))
if stale ~= STALE and repair then call('HSET', STATS, 'stale', stale) end
return { 'ok', math.max(STALE, 0), stale }
