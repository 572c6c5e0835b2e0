-- audit_stale.lua: count stale entries of pending anew, from what the queue must add up to.
-- Guarantee: right when every job is in one container; costs the same on any queue.
-- KEYS    see lib/queue.lua
-- ARGV    1 '1' mend | '0'
-- Reply   {'ok', stale entries as counted, as they are}
meet_all()
local contained = leases_kept - (call('ZSCORE', LEASE, ROOM) and 1 or 0)
for i = 7, 11 do contained = contained + call('ZCARD', KEYS[i]) end
local stale = math.max(0, call('LLEN', PENDING) + contained - call('HLEN', JOB))
if stale ~= STALE and ARGV[1] == '1' then call('HSET', STATS, 'stale', stale) end
return { 'ok', math.max(STALE, 0), stale }
