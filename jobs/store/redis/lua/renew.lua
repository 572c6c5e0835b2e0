-- renew.lua: extend leases.
-- Guarantee: only the holder of a token extends its lease; sent twice it does no harm.
-- KEYS    see lib/queue.lua
-- ARGV    1 lease ms; then pairs: id, attempt(4) nonce(8)
-- Reply   {'ok', now, one char a lease: k kept, c kept and somebody asked to cancel, s stale}
local ids, n = {}, 0
for i = 2, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
if n == 0 then return { 'ok', NOW, '' } end
local grants = call('HMGET', GRANT, unpack(ids))
local expiry, leases, results = string.format('%.0f', NOW + ARGV[1]), {}, {}
for i = 1, n do
  local g = grants[i]
  if g and #g == GRANT_LEN and sub(g, 1, 12) == ARGV[2 * i + 1] then
    leases[#leases + 1] = expiry
    leases[#leases + 1] = ids[i]
    results[i] = byte(g, GRANT_LEN) % 2 == CANCEL and 'c' or 'k'
  else
    results[i] = 's'
  end
end
each('ZADD', LEASE, leases)
return { 'ok', NOW, table.concat(results) }
