-- lib/queue.lua: the beginning of every script that works on one queue. In all scripts `name(6)` is a field of 6 bytes; numbers and
-- instants are big-endian, instants in ms since the Unix epoch.
-- KEYS    1 job, hash: id -> header(12) envelope                  2 pending, list: entry version(6) id
--         3 lease, zset: id by expiry                             4 delayed, zset: id by due time
--         5 completed 6 dead 7 poisoned 8 cancelled, zsets: id by end time
--         9 stats, hash: counters, instants, whether paused       10 replay, hash: replay slot -> last call (lib/replay.lua)
--         The keys from here on are not passed to enqueue.lua, which does not use them (ENQUEUE_KEYS in keys.rs).
--         11 grant, hash: id -> the grant below                   12 retry, hash: id -> the retry state below
--         13 history, hash: see lib/history.lua
--         14 awaited, zset, by the instant until which a client waits. Members: w id for a job that a client waits for; c id
--            instead after this job completed and was not kept. The key expires 1 min after the last wait began. No script fails when it has a wrong type
--         15 tombstones, list: see lib/tombstones.lua
local JOB, PENDING, LEASE, DELAYED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local COMPLETED, DEAD, POISONED, CANCELLED, STATS, REPLAY = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local GRANT, RETRY, HISTORY, AWAITED_JOBS, TOMBSTONES = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local call, sub, byte, pack = redis.call, string.sub, string.byte, struct.pack

local READ_BYTES_MAX = 4 * 1024 * 1024 -- a script reads at most this many bytes of bodies, but always one whole body
local HEADER = 12         -- bytes before the envelope: sequence(6) enqueued at(6)
local GRANT_LEN = 35      -- attempt(4) nonce(8) instance(16) claimed at(6) flags(1)
local RETRY_LEN = 22      -- retry state: attempts(4) failures(4) crashes(4) releases(4) entry version(6)
local CANCEL, HAS_RETRY_STATE, BEGUN = 1, 2, 4 -- flags of a grant: cancellation requested, has a retry state, handler begun
local NO_VERSION = '\0\0\0\0\0\0' -- the entry version in the retry state of a job in a sorted set other than `lease`: all entries of the job are stale
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
  local ms = math.floor(t[2] / 1000)
  NOW = t[1] * 1000 + ms
  NOW6 = pack('>I6', NOW)
  NOW_TEXT = t[1] .. string.format('%03d', ms)
end

-- Fields of `stats`, read in one command: by lib/stats.lua, or by enqueue.lua, which needs less.
local PAUSED, STALE
local IDLE_UNTIL -- until then a worker may wait for a hint
local LARGEST -- no body of this queue has more bytes. nil if that is not known: in a new queue, and when `stats` was lost or edited
local LONGEST_LEASE -- the longest lease in use, in ms (lib/lease.lua). nil if that is not known
local AWAITED_UNTIL, AWAITED -- until when a client may wait for the outcome of a job (watch_outcome.lua), and whether one may now

local function largest_of(text)
  local bytes = tonumber(text)
  return bytes and bytes >= 1 and bytes or nil
end

-- Redis does not roll back. So before its first write a script reads every key it will write: a key of the wrong type then stops
-- the script before anything has changed. These reads ("type checks") also find how many fields or members the keys hold, the
-- encoding sentinel included:
local retry_kept, lease_members, grants_kept, histories_kept, completed_kept

-- Returns attempts, failures, crashes, releases of a retry state. A missing or damaged retry state counts as zeros.
local function counters_of(retry)
  if retry and #retry >= RETRY_LEN then return struct.unpack('>I4I4I4I4', retry) end
  return 0, 0, 0, 0
end
