-- record.lua: append supervision events, and drop the oldest beyond a number of events and of bytes.
-- Guarantee: all of a call's events or none; the latest event is kept whatever its size.
-- KEYS    1 ledger, stream; an entry: e the event, t the bytes of all events ever recorded, its own included
-- ARGV    1 events kept at most, 2 bytes kept at most; then events, oldest first
-- Reply   {'ok'}
local SCANNED_MAX = 50 -- old entries read at a time
local ledger, events_max, bytes_max = KEYS[1], ARGV[1], tonumber(ARGV[2])
local latest = redis.call('XREVRANGE', ledger, '+', '-', 'COUNT', 1)[1]
local total, last = tonumber(latest and latest[2][4] or '') or 0, nil
for i = 3, #ARGV do
  total = total + #ARGV[i]
  last = redis.call('XADD', ledger, 'MAXLEN', events_max, '*', 'e', ARGV[i], 't', string.format('%.0f', total))
end
while last do
  local first, old = nil, redis.call('XRANGE', ledger, '-', '+', 'COUNT', SCANNED_MAX)
  for i = 1, #old do
    local id, event, before = old[i][1], old[i][2][2], tonumber(old[i][2][4] or '') or 0
    first = id
    if id == last or total - before + #event <= bytes_max then
      last = nil
      break
    end
  end
  redis.call('XTRIM', ledger, 'MINID', first)
  if last then redis.call('XDEL', ledger, first) end
end
return { 'ok' }
