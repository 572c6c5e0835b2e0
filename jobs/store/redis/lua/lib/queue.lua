-- lib/queue.lua: how every script of a queue begins.
-- KEYS, the same in every script: job pending lease grant past history delayed completed dead poisoned cancelled stats replay slots
local JOB, PENDING, LEASE, GRANT, PAST, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local DELAYED, COMPLETED, DEAD, POISONED, CANCELLED = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local STATS, REPLAY = KEYS[12], KEYS[13]
local call, sub, byte, pack = redis.call, string.sub, string.byte, struct.pack

local HEADER = 12         -- bytes before the envelope in a job: sequence, enqueued at
local GRANT_LEN = 29      -- attempt(4) nonce(8) instance(16) flags(1)
local PAST_LEN = 22       -- attempts(4) failures(4) crashes(4) releases(4) entry_version(6)
local CANCEL, HAS_PAST, BEGUN = 1, 2, 4 -- flags of a grant
local NO_VERSION = '\0\0\0\0\0\0' -- no entry of pending is live
local NUMBERS_MAX = 2 ^ 47 -- sequences stay below, entry_versions drawn later stand above: six bytes hold both

-- Redis packs a small hash or zset into one array and searches it from the front; a name above 64 bytes stops that.
-- This one stands in lease (at +inf), grant, past and history, and names no job. Measured: it halves a turn.
local ROOM = string.rep('\255', 65)

local NOW, NOW6, NOW_TEXT -- the last for lists of arguments: a number is printed anew each time it is passed
do
  local t = call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
  NOW6 = pack('>I6', NOW)
  NOW_TEXT = string.format('%.0f', NOW)
end

local stats_read = call('HMGET', STATS, 'paused', 'idle_until', 'stale')
local PAUSED = stats_read[1] == '1'
local IDLE_UNTIL = tonumber(stats_read[2]) or 0
local STALE = tonumber(stats_read[3]) or 0

-- Lua has no rollback: every key a script writes to is met by a read before the first write, so that one of a wrong
-- type stops the script while nothing has happened. What is met tells how much the key holds.
local pasts_kept, leases_kept, grants_kept, histories_kept, completed_kept

-- Scripts that are not called thousands of times a second meet all keys.
local function meet_all()
  pasts_kept = call('HLEN', PAST)
  leases_kept, grants_kept, histories_kept = call('ZCARD', LEASE), call('HLEN', GRANT), call('HLEN', HISTORY)
  completed_kept = call('ZCARD', COMPLETED)
  call('HLEN', JOB)
  call('LLEN', PENDING)
  for i = 7, 11 do call('ZCARD', KEYS[i]) end
end

-- Adds to a counter; one overwritten by hand starts again instead of stopping the queue.
local function count(name, n)
  if n == 0 then return end
  local after = redis.pcall('HINCRBY', STATS, name, n)
  if type(after) ~= 'number' then call('HSET', STATS, name, n) end
end

-- Draws n numbers from a counter that only grows: base + 1 .. base + n. One lost or overwritten starts again from the
-- clock, which no queue ever outruns.
local function draw(counter, n)
  local last = redis.pcall('HINCRBY', STATS, counter, n)
  if type(last) ~= 'number' or last < n or last >= NUMBERS_MAX then
    last = NOW + n
    call('HSET', STATS, counter, last)
  end
  return last - n
end

-- attempts, failures, crashes, releases of what stands in `past`; a job without, or with one damaged, has none.
local function counters_of(p)
  if p and #p >= PAST_LEN then return struct.unpack('>I4I4I4I4', p) end
  return 0, 0, 0, 0
end

-- Calls a command over a list too long for one unpack, `step` values at a time.
local function each(command, key, values)
  local n = #values
  if n == 0 then return end
  if n <= 2000 then return call(command, key, unpack(values)) end
  for i = 1, n, 2000 do call(command, key, unpack(values, i, math.min(i + 1999, n))) end
end

-- Writes fields to a hash that is looked up by id; `kept` is what it held.
local function put(key, kept, fields)
  if #fields == 0 then return end
  if kept == 0 then call('HSET', key, ROOM, '') end
  each('HSET', key, fields)
end
