-- renew.lua: extend leases; when asked, record also that the handlers of these jobs are about to start (the flag BEGUN).
-- Guarantee: only the holder of a token extends its lease; sending the call twice does no harm.
-- KEYS    see lib/queue.lua
-- ARGV    1 lease ms, 2 '1': the handlers of these jobs are about to start | '0'; then pairs: id, attempt(4) nonce(8)
-- Reply   {'ok', now, one char per lease: k kept, c kept and a cancellation was requested, s stale: not held
--         under this token any more}
local lease_ms, begins = tonumber(ARGV[1]), ARGV[2] == '1'
local ids, n = {}, 0
for i = 3, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
if n == 0 then return { 'ok', NOW, '' } end
local grants = call('HMGET', GRANT, unpack(ids))
local expiry, leases, begun, results = string.format('%.0f', NOW + lease_ms), {}, {}, {}
for i = 1, n do
  local g = grants[i]
  if g and #g == GRANT_LEN and sub(g, 1, 12) == ARGV[2 * i + 2] then
    leases[#leases + 1] = expiry
    leases[#leases + 1] = ids[i]
    local flags = byte(g, GRANT_LEN)
    if begins and flags < BEGUN then
      begun[#begun + 1] = ids[i]
      begun[#begun + 1] = sub(g, 1, GRANT_LEN - 1) .. string.char(flags + BEGUN)
    end
    results[i] = flags % 2 == CANCEL and 'c' or 'k'
  else
    results[i] = 's'
  end
end
if #leases > 0 then
  call('ZCARD', LEASE) -- type check before the first write (lib/queue.lua)
  LONGEST_LEASE = tonumber(call('HGET', STATS, 'lease_longest'))
  begin_writes()
  use_lease(lease_ms)
end
each('HSET', GRANT, begun)
each('ZADD', LEASE, leases)
return { 'ok', NOW, table.concat(results) }
