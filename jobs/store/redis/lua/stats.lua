-- stats.lua: depths and counters of a queue, and whether, since when and by whom it is paused.
-- Guarantee: reads only; everything is of the same instant.
-- KEYS    see lib/queue.lua
-- ARGV    none
-- Reply   {'ok', now, paused 1 | 0, since when or '', by whom or '', pending, processing, delayed, completed kept, dead, poisoned, cancelled,
--         enqueue time of the first live job of pending or '' (none among the first 100 entries, or 4 MiB of them), due time of the first delayed job or '',
--         enqueued, completed, failures, crashes, releases, stale settlements, trimmed, trimmed dead, trimmed poisoned, garbage}
check_all_types()
local LIVE_SEARCHED_MAX = 100 -- entries of pending searched for a live one
local oldest, bytes_read = '', 0
local entries = call('LRANGE', PENDING, 0, LIVE_SEARCHED_MAX - 1)
for i = 1, #entries do
  local id = sub(entries[i], 7) -- after the entry version
  if last_readable({ id }, 1, 1, bytes_read) == 0 then break end -- 0: none, because with this body the bytes read would exceed READ_BYTES_MAX
  local body, bytes = live_body(entries[i])
  bytes_read = bytes_read + bytes
  if body then
    oldest = struct.unpack('>I6', body, 7) -- enqueued at, after the sequence (HEADER in lib/queue.lua)
    break
  end
end
local leases = lease_members - (call('ZSCORE', LEASE, ENCODING_SENTINEL) and 1 or 0)
local pending = math.max(0, call('LLEN', PENDING) - math.max(STALE, 0))
local pause = PAUSED and call('HMGET', STATS, 'paused_at', 'paused_by') or {}
local reply = {
  'ok', NOW, PAUSED and 1 or 0, tonumber(pause[1]) and pause[1] or '', sub(pause[2] or '', 1, 255), pending, leases, call('ZCARD', DELAYED), completed_kept, call('ZCARD', DEAD),
  call('ZCARD', POISONED), call('ZCARD', CANCELLED), oldest, call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2] or '',
}
local totals = call('HMGET', STATS, 'enqueued', 'completed', 'failures', 'crashes', 'releases', 'stale_settlements',
  'trimmed', 'trimmed_dead', 'trimmed_poisoned', 'garbage')
for i = 1, #totals do reply[#reply + 1] = tonumber(totals[i]) or 0 end
return reply
