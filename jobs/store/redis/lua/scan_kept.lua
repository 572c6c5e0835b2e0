-- scan_kept.lua: sum up the bytes of ended jobs that `stats` counts (lib/kept.lua), one page of a final state per call.
-- Guarantee: the sum is compared, and `stats` repaired, only if the number of jobs and the counted bytes are still those of the first page.
-- KEYS    see lib/queue.lua
-- ARGV    1 number of the key in KEYS, completed to cancelled, 2 how many jobs earlier pages had, 3 how many jobs to read, 4 '1' repair | '0';
--         then what the last page replied, zeros before the first one: 5 jobs kept, 6 bytes counted, 7 sum of the bytes
-- Reply   {'ok', 'more' | 'whole' | 'changed', jobs of this page, jobs kept, bytes as stats counts them, sum of the bytes so far};
--         'changed': jobs came or left since the first page, so the sum says nothing
check_all_types()
local key, first, page_size = KEYS[tonumber(ARGV[1])], tonumber(ARGV[2]), tonumber(ARGV[3])
local value = tonumber(call('HGET', STATS, EXCESS_FIELDS[key]))
local kept, counted, sum = call('ZCARD', key), math.max(0, value or 0), tonumber(ARGV[7])
if first > 0 and (kept ~= tonumber(ARGV[5]) or counted ~= tonumber(ARGV[6])) then return { 'ok', 'changed', 0, kept, counted, sum } end
local small = LARGEST and LARGEST <= KEPT_BYTES_MIN
local ids = small and {} or call('ZRANGE', key, first, first + page_size - 1)
for k = 1, #ids do sum = sum + excess_of(ids[k]) end
if #ids > 0 and first + #ids < kept then return { 'ok', 'more', #ids, kept, counted, sum } end
-- A queue with jobs that knows no largest body has lost `stats`. There each state needs a value, even if it has no jobs, so that lib/kept.lua counts again.
local is_unknown = not value and not LARGEST and call('HLEN', JOB) > 0
if ARGV[4] == '1' and (is_unknown or sum ~= (value or 0)) then
  begin_writes()
  call('HSET', STATS, EXCESS_FIELDS[key], sum)
end
return { 'ok', 'whole', #ids, kept, counted, sum }
