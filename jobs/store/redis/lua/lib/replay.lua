-- lib/replay.lua: a call sent again gets the reply it missed, and does nothing.
-- ARGV[1] instance(16) replay slot(2)   ARGV[2] sequence(6) verb(1)   ARGV[3] wake-up channel
local REPLAY_SLOT, SEQ, WAKE = ARGV[1], ARGV[2], ARGV[3]
local LANE_SILENT_MS = 24 * 3600000 -- a call of a replay_slot is not sent again after so long
local REPLAY_SLOTS_MANY = 4096             -- with more replay slots than this in a queue,
local LANE_SILENT_MANY_MS = 3600000 -- after so long
local REPLAY_SLOTS_SWEPT = 2               -- silent replay slots a new one looks for: whoever adds replay slots takes away as many
local replay_slot_is_new = false

-- Forgets those long silent of some replay slots, looked at at random: their processes died without a word.
local function sweep_replay_slots(looked_at)
  local silent_ms = call('HLEN', REPLAY) > REPLAY_SLOTS_MANY and LANE_SILENT_MANY_MS or LANE_SILENT_MS
  local some, silent = call('HRANDFIELD', REPLAY, looked_at, 'WITHVALUES'), {}
  for k = 1, #some, 2 do
    local value = some[k + 1]
    if #value < 13 or struct.unpack('>I6', value, 8) < NOW - silent_ms then silent[#silent + 1] = some[k] end
  end
  each('HDEL', REPLAY, silent)
end

-- 'new' | 'again', stored reply, its instant(6) | 'superseded': the replay slot has seen a later call
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

-- The last writes of a script.
local function replay_close(reply)
  call('HSET', REPLAY, REPLAY_SLOT, SEQ .. NOW6 .. cmsgpack.pack(reply))
  if replay_slot_is_new then sweep_replay_slots(REPLAY_SLOTS_SWEPT) end
  return reply
end

-- A hint that something can be claimed, sent only when somebody may be asleep. Everybody asleep hears it,
-- and whoever finds too little says so again.
local function wake_claimers()
  if IDLE_UNTIL > NOW then
    IDLE_UNTIL = 0
    call('HSET', STATS, 'idle_until', 0)
    call('PUBLISH', WAKE, 'pending')
  end
end
