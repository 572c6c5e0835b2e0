-- lib/tombstones.lua: what is left of removed jobs.
-- Value   last state(1) cause(1) ended at(6), 0 if it had not ended; removed at(6) length of the id(1) id; for x the name of the operator
-- cause   a n b  retention: age, number, bytes (trim.lua); x discarded
local TOMBSTONES_MAX = 1000 -- most tombstones of a queue; the oldest leave first

-- `ended_at` is the score of the job in the sorted set of its final state, or nil.
local function tombstone(id, state, cause, ended_at, name)
  local at = math.min(math.max(0, tonumber(ended_at or 0) or 0), NUMBERS_MAX)
  return state .. cause .. pack('>I6', at) .. NOW6 .. string.char(#id) .. id .. name
end

-- Adds at most 200 tombstones. The caller has checked the type of the key.
local function bury(tombstones)
  if #tombstones == 0 then return end
  local surplus = call('RPUSH', TOMBSTONES, unpack(tombstones)) - TOMBSTONES_MAX
  if surplus > 0 then call('LPOP', TOMBSTONES, surplus) end
end
