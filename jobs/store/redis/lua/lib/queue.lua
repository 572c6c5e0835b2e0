-- lib/queue.lua: the beginning of every script that works on one queue.
-- KEYS    1 job, hash: id -> header(12) envelope                  2 pending, list: entry version(6) id
--         3 lease, zset: id by expiry                             4 grant, hash: id -> the grant below
--         5 retry, hash: id -> the retry state below              6 history, hash: see lib/history.lua
--         7 delayed, zset: id by due time                         8 completed 9 dead 10 poisoned 11 cancelled, zsets: id by end time
--         12 stats, hash: counters, instants, whether paused      13 replay, hash: replay slot -> last call (lib/replay.lua)
--         14 awaited, zset, by the instant until which a client waits: w id for the job it waits for, or c id after that job
--            completed and was not kept. The key expires 1 min after the last wait began. No script fails when it has a wrong type
local JOB, PENDING, LEASE, GRANT, RETRY, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local DELAYED, COMPLETED, DEAD, POISONED, CANCELLED = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local STATS, REPLAY, AWAITED_JOBS = KEYS[12], KEYS[13], KEYS[14]
local call, sub, byte, pack = redis.call, string.sub, string.byte, struct.pack

local READ_BYTES_MAX = 8 * 1024 * 1024 -- a script reads at most this many bytes of bodies, but always one whole body
local HEADER = 12         -- bytes before the envelope: sequence(6) enqueued at(6)
local GRANT_LEN = 29      -- attempt(4) nonce(8) instance(16) flags(1)
local RETRY_LEN = 22      -- retry state: attempts(4) failures(4) crashes(4) releases(4) entry version(6)
local CANCEL, HAS_RETRY_STATE, BEGUN = 1, 2, 4 -- flags of a grant: cancellation requested, has a retry state, handler begun
local NO_VERSION = '\0\0\0\0\0\0' -- the entry version in the retry state of a job in a sorted set: all entries of the job are stale
-- The first entry version of a job is its sequence, which is below this number; its later ones are above. Both fit into six bytes.
local NUMBERS_MAX = 2 ^ 47

-- Redis encodes a small hash or zset as one array and searches it linearly; a member above 64 bytes switches the encoding.
-- This sentinel, which is no job, is in lease (at +inf), grant, retry and history. It saves a third of the server's CPU time
-- (measured, see ARCHITECTURE.md).
local ENCODING_SENTINEL = string.rep('\255', 65)

-- The server's clock in ms: a number, six bytes, and a text for argument lists (Lua would format the number for each argument).
local NOW, NOW6, NOW_TEXT
do
  local t = call('TIME')
  NOW = t[1] * 1000 + math.floor(t[2] / 1000)
  NOW6 = pack('>I6', NOW)
  NOW_TEXT = string.format('%.0f', NOW)
end

local stats_read = call('HMGET', STATS, 'paused', 'idle_until', 'stale', 'awaited_until', 'largest')
local PAUSED = stats_read[1] == '1'
local IDLE_UNTIL = tonumber(stats_read[2]) or 0
local STALE = tonumber(stats_read[3]) or 0
-- No body of this queue has more bytes than LARGEST. While that is not known, because `stats` was lost, bodies have as many as this.
local LARGEST_UNKNOWN = 1024 * 1024
local LARGEST_READ = tonumber(stats_read[5])
local LARGEST = math.max(LARGEST_READ or LARGEST_UNKNOWN, 1)
local OUTCOME_WAIT_MS = 60000 -- the longest wait one call announces (OUTCOME_WAIT_MAX in jobs/limits.rs)
local AWAITED_UNTIL = tonumber(stats_read[4]) or 0 -- until then a client may wait for the outcome of a job (watch_outcome.lua)
-- An instant beyond the longest wait was written by hand, or before the clock went back.
if not (AWAITED_UNTIL <= NOW + OUTCOME_WAIT_MS) then AWAITED_UNTIL = 0 end
local AWAITED = AWAITED_UNTIL > NOW

-- Redis does not roll back. So before its first write a script reads every key it will write: a key of the wrong type then stops
-- the script before anything has changed. These reads ("type checks") also find how many fields or members the keys hold, the
-- encoding sentinel included:
local retry_kept, leases_kept, grants_kept, histories_kept, completed_kept

-- How many bodies may be read next by a script that has read so many bytes of them; 0 at the limit.
local function bodies_allowed(bytes_read)
  local allowed = math.floor((READ_BYTES_MAX - bytes_read) / LARGEST)
  return bytes_read == 0 and math.max(allowed, 1) or math.max(allowed, 0)
end

-- For scripts that are not called thousands of times per second. The others check only the keys they write, to save commands.
local function check_all_types()
  retry_kept = call('HLEN', RETRY)
  leases_kept, grants_kept, histories_kept = call('ZCARD', LEASE), call('HLEN', GRANT), call('HLEN', HISTORY)
  completed_kept = call('ZCARD', COMPLETED)
  call('HLEN', JOB)
  call('LLEN', PENDING)
  for i = 7, 11 do call('ZCARD', KEYS[i]) end -- delayed to cancelled
end

-- Adds to a counter in stats. A counter that somebody overwrote by hand starts again instead of stopping the queue.
local function count(name, n)
  if n == 0 then return end
  local after = redis.pcall('HINCRBY', STATS, name, n)
  if type(after) ~= 'number' then call('HSET', STATS, name, n) end
end

-- Draws n numbers from a counter in stats that only grows. Returns base: the numbers are base + 1 to base + n. A new, lost or
-- overwritten counter starts from the clock in ms. This is above every number drawn before, unless the queue has drawn more than a
-- thousand per second on average since it was new. scan_pending.lua relies on this start when a counter is missing.
local function draw(counter, n)
  local last = redis.pcall('HINCRBY', STATS, counter, n)
  if type(last) ~= 'number' or last <= n or last >= NUMBERS_MAX then
    last = NOW + n
    call('HSET', STATS, counter, last)
  end
  return last - n
end

-- Returns attempts, failures, crashes, releases of a retry state. A missing or damaged retry state counts as zeros.
local function counters_of(retry)
  if retry and #retry >= RETRY_LEN then return struct.unpack('>I4I4I4I4', retry) end
  return 0, 0, 0, 0
end

-- Calls a command with a list of arguments that may be too long for one unpack. An even limit leaves each field beside its value.
local UNPACKED_MAX = 2000 -- most arguments of one call
local function each(command, key, values)
  local n = #values
  if n == 0 then return end
  if n <= UNPACKED_MAX then return call(command, key, unpack(values)) end
  for i = 1, n, UNPACKED_MAX do call(command, key, unpack(values, i, math.min(i + UNPACKED_MAX - 1, n))) end
end

-- Writes fields to a hash that holds the encoding sentinel. `kept` is the number of fields it had before.
local function put(key, kept, fields)
  if #fields == 0 then return end
  if kept == 0 then call('HSET', key, ENCODING_SENTINEL, '') end
  each('HSET', key, fields)
end
