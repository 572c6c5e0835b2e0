-- reconcile.lua: release, at no cost, what one owner was granted by claims that came to a bad end.
-- Guarantee: no grant of another claim or another owner is touched. Looks at one slice of the grants.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 owner(16), 5 cursor, 6 grants to look at; then the nonces(8) of the claims
-- Reply   {'ok', now, next cursor ('0': all were seen), ids released} | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end
meet_all()

local owner, lost = ARGV[4], {}
for i = 7, #ARGV do lost[ARGV[i]] = true end
local scanned = call('HSCAN', GRANT, ARGV[5], 'COUNT', ARGV[6])
local cursor, found, ids, grant_of = scanned[1], scanned[2], {}, {}
for i = 1, #found, 2 do
  local id, g = found[i], found[i + 1]
  if #g == GRANT_LEN and sub(g, 13, 28) == owner and lost[sub(g, 5, 12)] and not grant_of[id] then
    ids[#ids + 1] = id
    grant_of[id] = g
  end
end

-- A scan has no order of its own.
table.sort(ids, below)
local released = {}
if #ids > 0 then
  local front, pasts, history, cut, cancelled = {}, {}, {}, {}, {}
  local garbage = 0
  for i = 1, #ids do
    local id, g = ids[i], grant_of[ids[i]]
    if call('ZSCORE', LEASE, id) and call('HEXISTS', JOB, id) == 1 then
      local _, failures, crashes, releases = counters_of(call('HGET', PAST, id))
      local attempt = struct.unpack('>I4', g)
      local counters = pack('>I4I4I4I4', attempt, failures, crashes, releases + 1)
      history[#history + 1] = id .. '\0' .. attempt
      history[#history + 1] = NOW6 .. 'U' .. owner
      crowd_out(cut, id, attempt)
      if byte(g, GRANT_LEN) % 2 == CANCEL then
        cancelled[#cancelled + 1] = NOW_TEXT
        cancelled[#cancelled + 1] = id
        pasts[#pasts + 1] = id
        pasts[#pasts + 1] = counters .. NO_VERSION
      else
        front[#front + 1] = id
        front[#front + 1] = counters
      end
      released[#released + 1] = id
    else
      garbage = garbage + 1
    end
  end
  each('ZREM', LEASE, ids)
  each('HDEL', GRANT, ids)
  each('HDEL', HISTORY, cut)
  put(HISTORY, histories_kept, history)
  each('ZADD', CANCELLED, cancelled)
  push('LPUSH', front, pasts)
  put(PAST, pasts_kept, pasts)
  count('releases', #released)
  count('garbage', garbage)
end
return replay_close({ 'ok', NOW, cursor, released })
