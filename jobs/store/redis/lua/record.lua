-- record.lua: append supervision events; the latest ones are kept, up to a number of events and of bytes.
-- Guarantee: all of a call's events or none; the latest event is kept whatever its size.
-- KEYS    1 ledger, a stream; an entry: e the event, t the bytes of all events recorded until then, its own included
-- ARGV    1 events kept at most, 2 bytes kept at most; then events, oldest first
-- Reply   {'ok'}
local LOOKED_AT = 50 -- old entries read at a time
local latest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local total, last = tonumber(latest and latest[2][4] or '') or 0, nil
for i = 3, #ARGV do
  total = total + #ARGV[i]
  last = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*', 'e', ARGV[i], 't', string.format('%.0f', total))
end
while last do
  local first, old = nil, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', LOOKED_AT)
  for i = 1, #old do
    local id, event, before = old[i][1], old[i][2][2], tonumber(old[i][2][4] or '') or 0
    first = id
    if id == last or total - before + #event <= tonumber(ARGV[2]) then
      last = nil
      break
    end
  end
  redis.call('XTRIM', KEYS[1], 'MINID', first)
  if last then redis.call('XDEL', KEYS[1], first) end
end
return { 'ok' }
