-- audit_jobs.lua: look at one slice of the jobs for those in no sorted set and without a grant: they should be pending.
-- Guarantee: reads only; gives no job whose entry version is younger than the look at pending.
-- KEYS    see lib/queue.lua
-- ARGV    1 cursor, 2 jobs to look at, 3 last sequence and 4 last entry version drawn before pending was looked at
-- Reply   {'ok', next cursor ('0': all were seen), jobs looked at, bytes read, id, entry version(6) or '' where the record
--         cannot be read, in a list}
meet_all()
local last_sequence, last_entry_version = tonumber(ARGV[3]), tonumber(ARGV[4])
local scanned = call('HSCAN', JOB, ARGV[1], 'COUNT', ARGV[2])
local ids, bodies, n, bytes = {}, {}, 0, 0
for i = 1, #scanned[2], 2 do
  n = n + 1
  ids[n], bodies[n] = scanned[2][i], scanned[2][i + 1]
  bytes = bytes + #bodies[n]
end
local places, pasts, grants, found = places_of(ids, #PLACES), {}, {}, {}
if n > 0 then pasts, grants = call('HMGET', PAST, unpack(ids)), call('HMGET', GRANT, unpack(ids)) end
for k = 1, n do
  if not places[k] and not (grants[k] and #grants[k] == GRANT_LEN) then
    local p, entry_version = pasts[k], ''
    if #bodies[k] >= HEADER and not (p and #p < PAST_LEN) then
      entry_version = p and sub(p, 17, 22) or sub(bodies[k], 1, 6)
    end
    local number = entry_version == '' and 0 or struct.unpack('>I6', entry_version)
    local last = last_sequence
    if number > NUMBERS_MAX then number, last = number - NUMBERS_MAX, last_entry_version end
    if number <= last then
      found[#found + 1] = ids[k]
      found[#found + 1] = entry_version
    end
  end
end
return { 'ok', scanned[1], n, bytes, found }
