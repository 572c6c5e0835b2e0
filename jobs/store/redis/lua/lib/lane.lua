-- lib/lane.lua: a call sent again gets the reply it missed, and does nothing.
-- ARGV[1] incarnation(16) lane(2)   ARGV[2] sequence(6) verb(1)   ARGV[3] wake-up channel
local LANE, SEQ, WAKE = ARGV[1], ARGV[2], ARGV[3]
local LANE_SILENT_MS = 24 * 3600000 -- a call of a lane is not sent again after so long
local LANES_MANY = 4096             -- with more lanes than this in a queue,
local LANE_SILENT_MANY_MS = 3600000 -- after so long
local LANES_SWEPT = 2               -- silent lanes a new one looks for: whoever adds lanes takes away as many
local lane_is_new = false

-- Forgets those long silent of some lanes, looked at at random: their processes died without a word.
local function sweep_lanes(looked_at)
  local silent_ms = call('HLEN', LANES) > LANES_MANY and LANE_SILENT_MANY_MS or LANE_SILENT_MS
  local some, silent = call('HRANDFIELD', LANES, looked_at, 'WITHVALUES'), {}
  for k = 1, #some, 2 do
    local value = some[k + 1]
    if #value < 13 or struct.unpack('>I6', value, 8) < NOW - silent_ms then silent[#silent + 1] = some[k] end
  end
  each('HDEL', LANES, silent)
end

-- 'new' | 'again', stored reply, its instant(6) | 'superseded': the lane has seen a later call
-- | 'other': the same number was used for another verb
local function lane_open()
  local last = call('HGET', LANES, LANE)
  lane_is_new = not last
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
local function lane_close(reply)
  call('HSET', LANES, LANE, SEQ .. NOW6 .. cmsgpack.pack(reply))
  if lane_is_new then sweep_lanes(LANES_SWEPT) end
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
