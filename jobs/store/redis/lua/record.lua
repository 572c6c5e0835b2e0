-- record.lua: append supervision events to the ledger, and delete the oldest when there are too many events or too many bytes.
-- Guarantee: appends all events of a call or none; the latest event is kept whatever its size.
-- KEYS    1 ledger, stream; the fields of an entry: e the event, t the bytes of all events ever recorded up to this one
-- ARGV    1 events kept at most, 2 bytes kept at most; then events, oldest first
-- Reply   {'ok'}
local EVENTS_READ_MAX = 50 -- old entries read at a time
local ledger, events_max, bytes_max = KEYS[1], ARGV[1], tonumber(ARGV[2])
local previous = redis.call('XREVRANGE', ledger, '+', '-', 'COUNT', 1)[1]
local total, newest = tonumber(previous and previous[2][4] or '') or 0, nil
redis.call('XDEL', ledger, '0-1') -- begin_writes in lib/write.lua: an id that no event has
for i = 3, #ARGV do
  total = total + #ARGV[i]
  newest = redis.call('XADD', ledger, 'MAXLEN', events_max, '*', 'e', ARGV[i], 't', string.format('%.0f', total))
end
-- Finds the oldest event to keep: `total - total_at + #event` is the size of this event and all later ones.
while newest do
  local oldest_kept, old = nil, redis.call('XRANGE', ledger, '-', '+', 'COUNT', EVENTS_READ_MAX)
  for i = 1, #old do
    local id, event, total_at = old[i][1], old[i][2][2], tonumber(old[i][2][4] or '') or 0
    oldest_kept = id
    if id == newest or total - total_at + #event <= bytes_max then
      newest = nil
      break
    end
  end
  redis.call('XTRIM', ledger, 'MINID', oldest_kept)
  if newest then redis.call('XDEL', ledger, oldest_kept) end
end
return { 'ok' }
