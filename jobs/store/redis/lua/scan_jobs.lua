-- scan_jobs.lua: scan one slice of the jobs for those that should be pending: they are in no sorted set and have no grant.
-- Guarantee: reads only; returns no job whose entry version was drawn after the caller began to read `pending`.
-- KEYS    see lib/queue.lua
-- ARGV    1 cursor, 2 about how many jobs to scan, 3 and 4 the last numbers drawn, as scan_pending.lua returned them with the
--         first page of `pending`: for first entry versions (sequences), and for later ones, counted from NUMBERS_MAX
-- Reply   {'ok', next cursor ('0': all were scanned), jobs scanned, bytes read, a list of id, entry version(6), id, entry version(6) …; the
--         version is '' where the body or retry state cannot be read}
local cursor, jobs_max, last_sequence, last_entry_version = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
check_all_types()
-- HSCAN returns the bodies as well. Where their size is not known, a few are read at a time.
local LARGEST_ASSUMED = 1024 * 1024
jobs_max = math.max(1, math.min(tonumber(jobs_max), math.floor(READ_BYTES_MAX / (LARGEST or LARGEST_ASSUMED))))
local scanned = call('HSCAN', JOB, cursor, 'COUNT', jobs_max)
local ids, bodies, n, bytes = {}, {}, 0, 0
for i = 1, #scanned[2], 2 do
  n = n + 1
  ids[n], bodies[n] = scanned[2][i], scanned[2][i + 1]
  bytes = bytes + #bodies[n]
end
local containers, retry_states, grants, found = containers_of(ids, #CONTAINERS), {}, {}, {}
if n > 0 then retry_states, grants = call('HMGET', RETRY, unpack(ids)), call('HMGET', GRANT, unpack(ids)) end
for k = 1, n do
  if not containers[k] and not (grants[k] and #grants[k] == GRANT_LEN) then
    local retry, entry_version = retry_states[k], ''
    if #bodies[k] >= HEADER and not (retry and #retry < RETRY_LEN) then
      entry_version = retry and sub(retry, 17, 22) or sub(bodies[k], 1, 6)
    end
    local number = entry_version == '' and 0 or struct.unpack('>I6', entry_version)
    -- A later entry version is NUMBERS_MAX plus its number (lib/queue.lua).
    local last_drawn = last_sequence
    if number > NUMBERS_MAX then number, last_drawn = number - NUMBERS_MAX, last_entry_version end
    if number <= last_drawn then
      found[#found + 1] = ids[k]
      found[#found + 1] = entry_version
    end
  end
end
return { 'ok', scanned[1], n, bytes, found }
