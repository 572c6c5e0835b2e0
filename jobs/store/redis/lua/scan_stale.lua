-- scan_stale.lua: compute from the sizes of all containers how many entries of `pending` must be stale, and store this number when asked.
-- Guarantee: the number is right if every job is in exactly one container. The script costs the same on any queue.
-- KEYS    see lib/queue.lua
-- ARGV    1 '1': store the computed number in `stats` if another one is stored | '0': do not
-- Reply   {'ok', the number stored before this call, or 0 if that was negative, the computed number}
local repair = ARGV[1] == '1'
check_all_types() -- also sets lease_members
-- Jobs in the containers other than `pending`.
local contained = lease_members - (call('ZSCORE', LEASE, ENCODING_SENTINEL) and 1 or 0)
for i = 4, 8 do contained = contained + call('ZCARD', KEYS[i]) end -- delayed to cancelled
local stale = math.max(0, call('LLEN', PENDING) + contained - call('HLEN', JOB))
if stale ~= STALE and repair then
  begin_writes()
  call('HSET', STATS, 'stale', stale)
end
return { 'ok', math.max(STALE, 0), stale }
