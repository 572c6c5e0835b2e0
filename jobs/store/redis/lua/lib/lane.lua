-- lib/lane.lua: a call sent again gets the reply it missed, and does nothing.
-- ARGV[1] incarnation(16) lane(2)   ARGV[2] sequence(6) verb(1)   ARGV[3] wake-up channel
local LANE, SEQ, WAKE = ARGV[1], ARGV[2], ARGV[3]

-- 'new' | 'again', stored reply, its instant(6) | 'superseded': the lane has seen a later call
-- | 'other': the same number was used for another verb
local function lane_open()
  local last = call('HGET', LANES, LANE)
  if not last or #last < 13 then return 'new' end
  local seen, asked = struct.unpack('>I6', last), struct.unpack('>I6', SEQ)
  if seen < asked then return 'new' end
  if seen > asked then return 'superseded' end
  if sub(last, 1, 7) ~= SEQ then return 'other' end
  local read, reply = pcall(cmsgpack.unpack, sub(last, 14))
  if not read or type(reply) ~= 'table' then return 'superseded' end
  return 'again', reply, sub(last, 8, 13)
end

-- The last write of a script.
local function lane_close(reply)
  call('HSET', LANES, LANE, SEQ .. NOW6 .. cmsgpack.pack(reply))
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
