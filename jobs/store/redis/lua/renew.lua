-- renew.lua: extend leases; when asked, record also that the handlers of these jobs have started or are about to (the flag BEGUN), and
-- what they report.
-- Guarantee: only the holder of a token extends its lease and reports; sending the call twice does no harm.
-- KEYS    see lib/queue.lua
-- ARGV    1 lease ms, 2 'b': the handlers of these jobs are about to start | 'p': they report progress | 'r': neither; then for each
--         lease: id, attempt(4) nonce(8), and with 'p': percent(1) note
-- Reply   {'ok', now, one char per lease: k kept, c kept and a cancellation was requested, s stale: not held
--         under this token any more}
local lease_ms, begins, reports = tonumber(ARGV[1]), ARGV[2] ~= 'r', ARGV[2] == 'p'
local width = reports and 3 or 2
local ids, n = {}, 0
for i = 3, #ARGV, width do n = n + 1; ids[n] = ARGV[i] end
if n == 0 then return { 'ok', NOW, '' } end
local grants = call('HMGET', GRANT, unpack(ids))
local expiry, leases, begun, progress, results = string.format('%.0f', NOW + lease_ms), {}, {}, {}, {}
for i = 1, n do
  local g, at = grants[i], 3 + width * (i - 1)
  if g and #g == GRANT_LEN and sub(g, 1, 12) == ARGV[at + 1] then
    leases[#leases + 1] = expiry
    leases[#leases + 1] = ids[i]
    local flags = byte(g, GRANT_LEN)
    if begins and flags < BEGUN then
      begun[#begun + 1] = ids[i]
      begun[#begun + 1] = sub(g, 1, GRANT_LEN - 1) .. string.char(flags + BEGUN)
    end
    if reports then
      progress[#progress + 1] = ids[i] .. '\0p' -- lib/history.lua
      progress[#progress + 1] = NOW6 .. sub(g, 1, 4) .. ARGV[at + 2]
    end
    results[i] = flags % 2 == CANCEL and 'c' or 'k'
  else
    results[i] = 's'
  end
end
if #leases > 0 then
  call('ZCARD', LEASE) -- type check before the first write (lib/queue.lua)
  if reports then histories_kept = call('HLEN', HISTORY) end
  LONGEST_LEASE = tonumber(call('HGET', STATS, 'lease_longest'))
  begin_writes()
  use_lease(lease_ms)
end
call_in_chunks('HSET', GRANT, begun)
call_in_chunks('ZADD', LEASE, leases)
put(HISTORY, histories_kept, progress)
return { 'ok', NOW, table.concat(results) }
