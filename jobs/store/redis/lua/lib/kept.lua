-- lib/kept.lua: how many bytes each ended job counts for retention.
-- A job counts the size of its body, but at least KEPT_BYTES_MIN, which stands for what is kept beside the body. So `stats` only holds, for
-- each final state, the sum of the bytes above this minimum (the excess). In a queue of smaller bodies no size is ever looked up.
local KEPT_BYTES_MIN = 1024 -- bytes that each job counts at least
local FREED_BYTES_MAX = 64 * 1024 * 1024 -- a trim or discard deletes bodies until they reach this, because the server frees 1 MiB in about 0.12 ms
local EXCESS_FIELDS = { -- of `stats`; check_counts.lua spells them too
  [COMPLETED] = 'excess_completed', [DEAD] = 'excess_dead', [POISONED] = 'excess_poisoned', [CANCELLED] = 'excess_cancelled',
}

-- The bytes above KEPT_BYTES_MIN of one job.
local function excess_of(id)
  if LARGEST and LARGEST <= KEPT_BYTES_MIN then return 0 end
  return math.max(0, call('HSTRLEN', JOB, id) - KEPT_BYTES_MIN)
end

-- The bytes above KEPT_BYTES_MIN of all jobs among list[first], list[first + step] and so on.
local function excess_of_all(list, first, step)
  local excess = 0
  if LARGEST and LARGEST <= KEPT_BYTES_MIN then return excess end
  for k = first, #list, step do excess = excess + excess_of(list[k]) end
  return excess
end

-- Adds to the counted bytes of a final state, never to below 0. A value that was lost with `stats`, and LARGEST with it, stays missing until
-- a repair has summed the bytes up. Counted from here on it would be too small, and check_counts.lua, which looks for missing values, would not find it.
local function count_excess(key, n)
  local field = EXCESS_FIELDS[key]
  if n == 0 or not LARGEST and call('HEXISTS', STATS, field) == 0 then return end
  local after = redis.pcall('HINCRBY', STATS, field, n)
  if type(after) ~= 'number' then call('HSET', STATS, field, math.max(0, n)) elseif after < 0 then call('HSET', STATS, field, 0) end
end

-- Adds jobs to the sorted set of a final state. `members` is score, id, score, id … The caller has checked the types of both keys.
local function add_ended(key, members)
  local excess = excess_of_all(members, 2, 2)
  call_in_chunks('ZADD', key, members)
  count_excess(key, excess)
end

-- Removes jobs, whose bodies are still stored, from the sorted set of a final state.
local function remove_ended(key, ids)
  local excess = excess_of_all(ids, 1, 1)
  call_in_chunks('ZREM', key, ids)
  count_excess(key, -excess)
end
