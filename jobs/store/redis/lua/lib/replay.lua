-- lib/replay.lua: stores the reply to the last call of each replay slot, so that a call sent again gets the same reply and changes nothing.
-- First sendings: a call that changed nothing keeps no reply if its caller says that this is its first sending (CallId::first_sending in
-- model/call.rs). claim.lua and promote.lua make use of that. It is safe, because a reply is kept only for further copies of the call:
--   * A caller that got the reply sends no further copy.
--   * A caller that got none sends the call again, and each of these sendings says that it is not the first one and so keeps its reply.
--     It may find what the first one did not find; nobody has seen the reply of that one.
--   * A first sending that arrives late, after the caller gave it up, finds the reply to a later sending, or to a later call of its replay
--     slot. For that, no call of a slot is announced as a first sending after one whose reply never came, so all their replies are kept,
--     in whichever queue the late one may arrive.
--   * No connection sends anything again. A server that does not know a script (NOSCRIPT) has not run it, so EVAL after EVALSHA is still the
--     first sending. Should a proxy send a command twice before it passes on an answer, then either the first copy changes nothing, and the
--     second one counts, or its reply is kept. Only a proxy that passes on the first answer while another copy is still on its way could
--     grant jobs that nobody learns of; they would wait for the end of their leases. Such a proxy would also repeat every INCR and LPUSH.
--   * A failover can lose no reply that was not kept.
-- ARGV    1 instance(16) replay slot(2), 2 sequence(6) verb(1) hash of nonce and arguments(8), 3 hint channel
local REPLAY_SLOT, CALL, HINT_CHANNEL = ARGV[1], ARGV[2], ARGV[3]
local SLOT_IDLE_MS = 24 * 3600000      -- 24 h: a replay slot without a call for longer may be removed
local UNCROWDED_SLOTS_MAX = 4096       -- most replay slots of a queue that is not crowded
local SLOT_IDLE_CROWDED_MS = 3600000   -- 1 h: the same as SLOT_IDLE_MS, in a crowded queue
local SLOTS_SWEPT = 2                  -- how many others the first call of a new replay slot checks, so that idle ones do not pile up
local replay_slot_is_new = false
local ended = {} -- for the hint of replay_close: state(1) length(1) id of each job that ended in this script

-- Checks up to `scanned_max` replay slots, drawn at random, and removes the idle ones. Most belong to processes that ended without
-- calling forget.lua.
local function sweep_replay_slots(scanned_max)
  local idle_ms = call('HLEN', REPLAY) > UNCROWDED_SLOTS_MAX and SLOT_IDLE_CROWDED_MS or SLOT_IDLE_MS
  local sampled, idle = call('HRANDFIELD', REPLAY, scanned_max, 'WITHVALUES'), {}
  for k = 1, #sampled, 2 do
    local value = sampled[k + 1]
    if #value < 21 or struct.unpack('>I6', value, 16) < NOW - idle_ms then idle[#idle + 1] = sampled[k] end
  end
  call_in_chunks('HDEL', REPLAY, idle)
end

-- Looks up the call in its replay slot. Returns one of
--   'new'                        the call was not applied yet
--   'again', reply, instant(6)   the call was applied before, with this reply, at this instant
--   'superseded'                 the replay slot has seen a later call, or the stored reply cannot be read
--   'taken'                      the same sequence was used for another call: another nonce, verb or arguments
local function replay_open()
  local last_call = call('HGET', REPLAY, REPLAY_SLOT)
  replay_slot_is_new = not last_call
  if not last_call or #last_call < 21 then return 'new' end
  local last_sequence, sequence = struct.unpack('>I6', last_call), struct.unpack('>I6', CALL)
  if last_sequence < sequence then return 'new' end
  if last_sequence > sequence then return 'superseded' end
  if sub(last_call, 1, 15) ~= CALL then return 'taken' end
  local readable, reply = pcall(cmsgpack.unpack, sub(last_call, 22))
  if not readable or type(reply) ~= 'table' then return 'superseded' end
  return 'again', reply, sub(last_call, 16, 21)
end

-- Notes that a job has ended, if a client waits for an outcome. `state` is its state (lib/state.lua), or '-' for a discarded job.
local function note_ended(id, state)
  if AWAITED and #id < 256 then ended[#ended + 1] = state .. string.char(#id) .. id end
end

-- Stores the reply, after all other writes of the script about jobs. Then publishes the hint about the jobs that ended; before, an
-- error could still stop the script. Every script publishes by pcall, because a missing right to the channel must not stop a script
-- that has written already.
local function replay_close(reply)
  call('HSET', REPLAY, REPLAY_SLOT, CALL .. NOW6 .. cmsgpack.pack(reply))
  if replay_slot_is_new then sweep_replay_slots(SLOTS_SWEPT) end
  if #ended > 0 then redis.pcall('PUBLISH', HINT_CHANNEL, 'ended:' .. table.concat(ended)) end
  return reply
end

-- Publishes the hint that jobs can be claimed, if a worker may be idle. Every worker of the queue gets the hint. One that then still
-- finds too few jobs records again that it is idle (note_idle in lib/claim.lua).
local function hint_claimable()
  if IDLE_UNTIL > NOW then
    IDLE_UNTIL = 0
    call('HSET', STATS, 'idle_until', 0)
    redis.pcall('PUBLISH', HINT_CHANNEL, 'pending')
  end
end
