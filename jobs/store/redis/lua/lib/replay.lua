-- lib/replay.lua: a call sent again gets the reply it missed, and has no second effect.
-- ARGV    1 instance(16) replay slot(2), 2 sequence(6) verb(1), 3 hint channel
local REPLAY_SLOT, SEQ, WAKE = ARGV[1], ARGV[2], ARGV[3]
local SLOT_IDLE_MS = 24 * 3600000 -- a call is not sent again after so long
local SLOTS_CROWDED = 4096             -- with more replay slots than this in a queue,
local SLOT_IDLE_CROWDED_MS = 3600000   -- this is the limit
local SLOTS_SWEPT = 2                  -- replay slots a new one checks, so that idle ones are removed as fast as slots are added
local replay_slot_is_new = false
local ended = {} -- what note_ended collected

-- Drops the idle ones among some replay slots, drawn at random: their processes died without forgetting them.
local function sweep_replay_slots(scanned_max)
  local idle_ms = call('HLEN', REPLAY) > SLOTS_CROWDED and SLOT_IDLE_CROWDED_MS or SLOT_IDLE_MS
  local some, idle = call('HRANDFIELD', REPLAY, scanned_max, 'WITHVALUES'), {}
  for k = 1, #some, 2 do
    local value = some[k + 1]
    if #value < 13 or struct.unpack('>I6', value, 8) < NOW - idle_ms then idle[#idle + 1] = some[k] end
  end
  each('HDEL', REPLAY, idle)
end

-- Returns 'new' | 'again', stored reply, its instant(6) | 'superseded': the replay slot has seen a later call
-- | 'other': the same number was used for another verb
local function replay_open()
  local last = call('HGET', REPLAY, REPLAY_SLOT)
  replay_slot_is_new = not last
  if not last or #last < 13 then return 'new' end
  local seen, asked = struct.unpack('>I6', last), struct.unpack('>I6', SEQ)
  if seen < asked then return 'new' end
  if seen > asked then return 'superseded' end
  if sub(last, 1, 7) ~= SEQ then return 'other' end
  local read, reply = pcall(cmsgpack.unpack, sub(last, 14))
  if not read or type(reply) ~= 'table' then return 'superseded' end
  return 'again', reply, sub(last, 8, 13)
end

-- Notes for the hint of replay_close that a job has ended: its state (lib/state.lua), or - when it was deleted.
local function note_ended(id, state)
  if AWAITED and #id < 256 then ended[#ended + 1] = state .. string.char(#id) .. id end
end

-- The last writes of a script, and after them the hint about the jobs that ended, so that no client gets a hint of an end that an error
-- prevented. Hints are published by pcall in every script: a user without the channel must not be stopped after the writes.
local function replay_close(reply)
  call('HSET', REPLAY, REPLAY_SLOT, SEQ .. NOW6 .. cmsgpack.pack(reply))
  if replay_slot_is_new then sweep_replay_slots(SLOTS_SWEPT) end
  if #ended > 0 then redis.pcall('PUBLISH', WAKE, 'ended:' .. table.concat(ended)) end
  return reply
end

-- Hints that something can be claimed, only while a worker may be idle. Every idle worker gets the hint, and one that still
-- finds too little records that again.
local function wake_claimers()
  if IDLE_UNTIL > NOW then
    IDLE_UNTIL = 0
    call('HSET', STATS, 'idle_until', 0)
    redis.pcall('PUBLISH', WAKE, 'pending')
  end
end
