-- lib/lane.lua: a call sent again gets the reply it missed, and does nothing.
-- ARGV[1] incarnation(16) lane(2)   ARGV[2] sequence(6)   ARGV[3] wake-up channel
local LANE, SEQ, WAKE = ARGV[1], ARGV[2], ARGV[3]

-- 'new' | 'again', stored reply, its instant(6) | 'superseded'
local function lane_open()
  local last = call('HGET', LANES, LANE)
  if not last or #last < 12 then return 'new' end
  if sub(last, 1, 6) == SEQ then
    local read, reply = pcall(cmsgpack.unpack, sub(last, 13))
    if read and type(reply) == 'table' then return 'again', reply, sub(last, 7, 12) end
    return 'superseded'
  end
  if struct.unpack('>I6', last) > struct.unpack('>I6', SEQ) then return 'superseded' end
  return 'new'
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
    call('HSET', STATS, 'idle_until', 0)
    call('PUBLISH', WAKE, 'pending')
  end
end
