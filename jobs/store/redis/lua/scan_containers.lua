-- scan_containers.lua: scan one slice of a container, or of a hash kept beside the jobs, for entries that no script leaves
-- behind, and repair them when asked.
-- Guarantee: no job is deleted; a consistent queue is left unchanged, whatever other scripts do between two slices.
-- KEYS    see lib/queue.lua
-- ARGV    1 number of the key in KEYS, lease to cancelled or grant to history, 2 cursor, 3 about how many entries to scan, 4 '1' repair | '0'
-- Reply   {'ok', next cursor ('0': all were scanned), four lists of ids: garbage, restored, to_expire, in_two}
--         garbage    entries without a job, and damaged grants of jobs in no sorted set
--         restored   readable grants of jobs in no sorted set
--         to_expire  unexpired leases without a grant
--         in_two     jobs in two sorted sets, and grants of jobs in another sorted set than `lease`
local RESTORED_LEASE_MS = 300000 -- a live owner renews within this time, if its lease is at most 15 min: it renews every third of a lease
check_all_types()
call('LLEN', TOMBSTONES) -- type check (lib/queue.lua): no other step of a scan uses this key, and a trim or a discard stops at one of a wrong type

local key_number, repair = tonumber(ARGV[1]), ARGV[4] == '1'
local key, index = KEYS[key_number], key_number - 2 -- index in CONTAINERS, if the key is a container
local hash = key_number > 10
local scanned = call(hash and 'HSCAN' or 'ZSCAN', key, ARGV[2], 'COUNT', ARGV[3])
local entries, ids, values, seen, n = {}, {}, {}, {}, 0
local to_delete, garbage = {}, {}
for i = 1, #scanned[2], 2 do
  local entry = scanned[2][i]
  if entry ~= ENCODING_SENTINEL and not seen[entry] then
    seen[entry] = true
    -- A field of `history` is id\0N, id\0a (lib/acts.lua) or id\0p (lib/history.lua).
    local id = key == HISTORY and (string.match(entry, '^(.*)%z%d+$') or string.match(entry, '^(.*)%z[ap]$')) or entry
    if call('HEXISTS', JOB, id) == 1 then
      n = n + 1
      entries[n], ids[n], values[n] = entry, id, scanned[2][i + 1]
    else
      garbage[#garbage + 1] = id
      to_delete[#to_delete + 1] = entry
    end
  end
end

local restored, to_expire, in_two = {}, {}, {}
local leases, none = {}, {}
if key == GRANT then
  local containers = containers_of(ids, #CONTAINERS)
  for k = 1, n do
    if not containers[k] and #values[k] == GRANT_LEN then
      restored[#restored + 1] = ids[k]
      leases[#leases + 1] = string.format('%.0f', NOW + RESTORED_LEASE_MS)
      leases[#leases + 1] = ids[k]
    elseif containers[k] ~= 1 then
      -- A damaged grant is garbage too.
      local list = containers[k] and in_two or garbage
      list[#list + 1] = ids[k]
      to_delete[#to_delete + 1] = ids[k]
    end
  end
elseif key == LEASE then
  local grants, ungranted = n > 0 and call('HMGET', GRANT, unpack(ids)) or none, {}
  for k = 1, n do
    if not (grants[k] and #grants[k] == GRANT_LEN) then ungranted[#ungranted + 1] = k end
  end
  for _, k in ipairs(ungranted) do
    local elsewhere = false
    for i = 2, #CONTAINERS do elsewhere = elsewhere or call('ZSCORE', CONTAINERS[i], ids[k]) end
    if elsewhere then
      in_two[#in_two + 1] = ids[k]
      to_delete[#to_delete + 1] = ids[k]
    elseif tonumber(values[k]) > NOW then
      to_expire[#to_expire + 1] = ids[k]
      leases[#leases + 1] = NOW_TEXT
      leases[#leases + 1] = ids[k]
    end
  end
elseif not hash then
  local containers = containers_of(ids, index - 1)
  for k = 1, n do
    -- A job stays in the first container it is in. A lease without a grant does not count: any other container is preferred.
    if containers[k] and (containers[k] > 1 or call('HSTRLEN', GRANT, ids[k]) == GRANT_LEN) then
      in_two[#in_two + 1] = ids[k]
      to_delete[#to_delete + 1] = ids[k]
    end
  end
end

if repair then
  begin_writes()
  call_in_chunks(hash and 'HDEL' or 'ZREM', key, to_delete)
  if #restored > 0 then
    LONGEST_LEASE = tonumber(call('HGET', STATS, 'lease_longest'))
    use_lease(RESTORED_LEASE_MS)
  end
  if #leases > 0 and lease_members == 0 then call('ZADD', LEASE, 'inf', ENCODING_SENTINEL) end
  call_in_chunks('ZADD', LEASE, leases)
  count('garbage', #garbage)
end
return { 'ok', scanned[1], garbage, restored, to_expire, in_two }
