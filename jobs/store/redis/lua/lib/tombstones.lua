-- lib/tombstones.lua: what is left of discarded jobs, and of dead and poisoned jobs that retention removed.
-- Value   these fields, one after the other; (n) = n bytes, see lib/queue.lua
--         last state(1)  a letter, see lib/state.lua
--         cause(1)       a, n, b: removed by retention because of age, number, bytes (trim.lua); x: discarded
--         ended at(6)    0 if the job had not ended
--         removed at(6)
--         length of the id(1)
--         id
--         then, if the cause is x, the operator's name
local TOMBSTONES_MAX = 1000 -- most tombstones of a queue; the oldest leave first

-- `ended_at` is the score of the job in the sorted set of its final state, or nil. `operator_name` is '' for retention.
local function tombstone(id, state, cause, ended_at, operator_name)
  -- A score that was edited by hand may not fit into six bytes. NUMBERS_MAX does.
  local at = math.min(math.max(0, tonumber(ended_at or 0) or 0), NUMBERS_MAX)
  return state .. cause .. pack('>I6', at) .. NOW6 .. string.char(#id) .. id .. operator_name
end

-- Takes at most 200 tombstones (BATCH_MAX in jobs/limits.rs), which become arguments of one command. The caller has checked the type of the key.
local function add_tombstones(tombstones)
  if #tombstones == 0 then return end
  local surplus = call('RPUSH', TOMBSTONES, unpack(tombstones)) - TOMBSTONES_MAX
  if surplus > 0 then call('LPOP', TOMBSTONES, surplus) end
end
