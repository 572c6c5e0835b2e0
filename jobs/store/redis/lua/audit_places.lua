-- audit_places.lua: look at one slice of a container, or of what is kept beside the jobs, for entries that nobody of us
-- could have left there, and mend them.
-- Guarantee: no job is deleted; what a sound queue holds is left as it is, whatever happens to it meanwhile.
-- KEYS    see lib/queue.lua
-- ARGV    1 which of KEYS, from 3 lease to 11 cancelled, 2 cursor, 3 entries to look at, 4 '1' mend | '0'
-- Reply   {'ok', next cursor ('0': all were seen), ids of entries without a job, of grants without a lease, of leases
--         without a grant, of jobs that are in another container as well}
local REATTACHED_MS = 300000 -- a living owner renews within it, if its lease is a quarter of an hour at most
meet_all()

local at, mend = tonumber(ARGV[1]), ARGV[4] == '1'
local key, place = KEYS[at], at == 3 and 1 or at - 5 -- the place in lib/places.lua, if it is one
local hash = at >= 4 and at <= 6
local scanned = call(hash and 'HSCAN' or 'ZSCAN', key, ARGV[2], 'COUNT', ARGV[3])
local entries, ids, values, met, n = {}, {}, {}, {}, 0
local gone, orphans = {}, {}
for i = 1, #scanned[2], 2 do
  local entry = scanned[2][i]
  if entry ~= ROOM and not met[entry] then
    met[entry] = true
    -- An attempt of a history stands at id\0N.
    local id = at == 6 and string.match(entry, '^(.*)%z%d+$') or entry
    if call('HEXISTS', JOB, id) == 1 then
      n = n + 1
      entries[n], ids[n], values[n] = entry, id, scanned[2][i + 1]
    else
      orphans[#orphans + 1] = id
      gone[#gone + 1] = entry
    end
  end
end

local reattached, expired, twice = {}, {}, {}
local leases, none = {}, {}
if key == GRANT then
  local places = places_of(ids, #PLACES)
  for k = 1, n do
    if not places[k] and #values[k] == GRANT_LEN then
      reattached[#reattached + 1] = ids[k]
      leases[#leases + 1] = string.format('%.0f', NOW + REATTACHED_MS)
      leases[#leases + 1] = ids[k]
    elseif places[k] ~= 1 then
      local list = places[k] and twice or orphans
      list[#list + 1] = ids[k]
      gone[#gone + 1] = ids[k]
    end
  end
elseif key == LEASE then
  local grants, rest = n > 0 and call('HMGET', GRANT, unpack(ids)) or none, {}
  for k = 1, n do
    if not (grants[k] and #grants[k] == GRANT_LEN) then rest[#rest + 1] = k end
  end
  for _, k in ipairs(rest) do
    local elsewhere = false
    for i = 2, #PLACES do elsewhere = elsewhere or call('ZSCORE', PLACES[i], ids[k]) end
    if elsewhere then
      twice[#twice + 1] = ids[k]
      gone[#gone + 1] = ids[k]
    elseif tonumber(values[k]) > NOW then
      expired[#expired + 1] = ids[k]
      leases[#leases + 1] = NOW_TEXT
      leases[#leases + 1] = ids[k]
    end
  end
elseif not hash then
  local places = places_of(ids, place - 1)
  for k = 1, n do
    -- A lease without a grant gives way to any other container.
    if places[k] and (places[k] > 1 or call('HSTRLEN', GRANT, ids[k]) == GRANT_LEN) then
      twice[#twice + 1] = ids[k]
      gone[#gone + 1] = ids[k]
    end
  end
end

if mend then
  each(hash and 'HDEL' or 'ZREM', key, gone)
  if #leases > 0 and leases_kept == 0 then call('ZADD', LEASE, 'inf', ROOM) end
  each('ZADD', LEASE, leases)
  count('garbage', #orphans)
end
return { 'ok', scanned[1], orphans, reattached, expired, twice }
