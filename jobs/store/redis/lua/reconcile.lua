-- reconcile.lua: release, without counting a failure, the jobs granted by claims whose replies their worker never read. One slice of
-- the grants per call.
-- Guarantee: no grant of another claim or another process instance is changed. A job whose cancellation was requested is cancelled.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 instance(16), 5 cursor, 6 about how many grants to scan; then the nonces(8)
--         of the claims
-- Reply   {'ok', now, next cursor ('0': all were scanned), ids released} | {'superseded'} | {'taken'} (lib/replay.lua)
local instance, start, grants_max = ARGV[4], ARGV[5], ARGV[6]
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
check_all_types()

local nonces = {}
for i = 7, #ARGV do nonces[ARGV[i]] = true end
local scanned = call('HSCAN', GRANT, start, 'COUNT', grants_max)
local cursor, found, ids, grant_of = scanned[1], scanned[2], {}, {}
for i = 1, #found, 2 do
  local id, g = found[i], found[i + 1]
  if #g == GRANT_LEN and sub(g, 13, 28) == instance and nonces[sub(g, 5, 12)] and not grant_of[id] then
    ids[#ids + 1] = id
    grant_of[id] = g
  end
end

-- HSCAN has no defined order, but the jobs must return to the front in one that is always the same.
table.sort(ids, is_below)
local released = {}
if #ids > 0 then
  local front, retry_states, history, evicted, cancelled = {}, {}, {}, {}, {}
  local garbage = 0
  for i = 1, #ids do
    local id, g = ids[i], grant_of[ids[i]]
    if call('ZSCORE', LEASE, id) and call('HEXISTS', JOB, id) == 1 then
      local _, failures, crashes, releases = counters_of(call('HGET', RETRY, id))
      local attempt = struct.unpack('>I4', g)
      local counters = pack('>I4I4I4I4', attempt, failures, crashes, releases + 1)
      history[#history + 1] = id .. '\0' .. attempt
      history[#history + 1] = NOW6 .. 'U' .. instance
      evict_attempt(evicted, id, attempt)
      if byte(g, GRANT_LEN) % 2 == CANCEL then
        cancelled[#cancelled + 1] = NOW_TEXT
        cancelled[#cancelled + 1] = id
        retry_states[#retry_states + 1] = id
        retry_states[#retry_states + 1] = counters .. NO_VERSION
        note_ended(id, 'x')
      else
        front[#front + 1] = id
        front[#front + 1] = counters
      end
      released[#released + 1] = id
    else
      garbage = garbage + 1
    end
  end
  call_in_chunks('ZREM', LEASE, ids)
  call_in_chunks('HDEL', GRANT, ids)
  call_in_chunks('HDEL', HISTORY, evicted)
  put(HISTORY, histories_kept, history)
  add_ended(CANCELLED, cancelled)
  push('LPUSH', front, retry_states)
  put(RETRY, retry_kept, retry_states)
  count('releases', #released)
  count('garbage', garbage)
end
return replay_close({ 'ok', NOW, cursor, released })
