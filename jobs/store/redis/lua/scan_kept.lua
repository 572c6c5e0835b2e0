-- scan_kept.lua: sum up the bytes of ended jobs that `stats` counts (lib/kept.lua), one page of a final state per call, from the latest job to the oldest.
-- Guarantee: the sum is that of the jobs in the state as the last page is read, although jobs enter and retention removes the oldest meanwhile. Jobs that end
--         while the pages are read are beyond the fence; the last page adds them. A job that leaves the pages read so far, or enters them, because somebody
--         redrives or discards it or the clock is set back, moves the last job that was read, and the sum is given up.
-- KEYS    see lib/queue.lua
-- ARGV    1 number of the key in KEYS, completed to cancelled, 2 how many jobs to read, and at most as many beyond the fence,
--         3 '0' | '1' repair | '2' repair, and count from 0 on if nothing is counted and the sum is given up;
--         then what the last page replied, before the first one '', 0, '', 0: 4 fence, 5 jobs read, 6 id of the last of them, 7 sum of their bytes
-- Reply   {'ok', 'more' | 'whole' | 'changed' | 'from_zero', fence, jobs read so far, id of the last one, bytes as stats counts them, sum of the bytes so far};
--         'changed': the sum was given up; 'from_zero': so it was, and `stats` counts from 0 on
check_all_types()
local key, page_size, repair = KEYS[tonumber(ARGV[1])], tonumber(ARGV[2]), ARGV[3]
local fence, scanned, last, sum = ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local value = tonumber(call('HGET', STATS, EXCESS_FIELDS[key]))
-- A queue with jobs that knows no largest body has lost `stats`. There each state needs a value, even if it has no jobs, so that lib/kept.lua counts again.
local is_unknown = not value and not LARGEST and call('HLEN', JOB) > 0

local function set_count(bytes)
  begin_writes()
  call('HSET', STATS, EXCESS_FIELDS[key], bytes)
end

local function beyond_fence() return call('ZCOUNT', key, '(' .. fence, '+inf') end

-- Adds up a page: `n` jobs behind the first `from`, counted from the latest. Returns how many there were.
local function read(from, n)
  local ids = n > 0 and call('ZREVRANGE', key, from, from + n - 1) or {}
  sum = sum + excess_of_all(ids, 1, 1)
  return #ids, ids[#ids]
end

-- Reads the next page, and after the last one the jobs beyond the fence.
local function read_page()
  if LARGEST and LARGEST <= KEPT_BYTES_MIN then
    -- Also if earlier pages had larger bodies: they are gone, because the queue was empty since.
    sum = 0
    return 'whole'
  end
  if fence == '' then
    fence = string.format('%.0f', NOW - 1)
    -- The clock was set back, so jobs that end now are not the latest ones.
    if beyond_fence() > page_size then fence = 'inf' end
  end
  local beyond = beyond_fence()
  if scanned > 0 and call('ZREVRANK', key, last) ~= beyond + scanned - 1 then return 'changed' end
  local n, id = read(beyond + scanned, page_size)
  scanned, last = scanned + n, id or last
  if n == page_size then return 'more' end
  if beyond > page_size then return 'changed' end
  read(0, beyond)
  return 'whole'
end

local state = read_page()
if state == 'whole' and repair ~= '0' and (is_unknown or sum ~= (value or 0)) then set_count(sum) end
if state == 'changed' and repair == '2' and is_unknown then
  set_count(0)
  state = 'from_zero'
end
return { 'ok', state, fence, scanned, last, math.max(0, value or 0), sum }
