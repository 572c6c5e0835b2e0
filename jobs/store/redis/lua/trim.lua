-- trim.lua: delete jobs that retention no longer keeps, the oldest of each state first. Remove some idle replay slots as well.
-- Guarantee: only jobs in final states are deleted, at most `limit` per call, and none after FREED_BYTES_MAX. Each dead or poisoned one leaves a tombstone.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit; then for completed, dead, poisoned, cancelled:
--         the age in ms, the number of jobs and the bytes (lib/kept.lua) that are kept at most
-- Reply   {'ok', now, deleted, 1 | 0: whether more can be deleted, a list of four values for each state and reason: state (lib/state.lua),
--         reason 'a' age | 'n' number | 'b' bytes, jobs deleted, end time of the oldest of them} | {'superseded'} | {'taken'} (lib/replay.lua)
local SLOTS_SCANNED_MAX = 50 -- most replay slots one call checks, drawn at random
local limit = tonumber(ARGV[4])
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()
check_all_types()
call('LLEN', TOMBSTONES) -- type check (lib/queue.lua)
local FINAL, LETTERS = { COMPLETED, DEAD, POISONED, CANCELLED }, { 'c', 'd', 'o', 'x' }
local REASONS = { 'a', 'n', 'b' }
local excesses = call('HMGET', STATS, EXCESS_FIELDS[COMPLETED], EXCESS_FIELDS[DEAD], EXCESS_FIELDS[POISONED], EXCESS_FIELDS[CANCELLED])

-- Which of the oldest jobs of a state are not kept, `left` at most and until `freed` bytes reach FREED_BYTES_MAX: { ids, their excess together, whether there are more, jobs by
-- reason, end time of the oldest by reason, tombstones of dead and poisoned jobs }. A job that exceeds several bounds counts for the first of them.
local function surplus_of(key, letter, age_ms, count_max, bytes_max, excess, left, freed)
  local kept_count = call('ZCARD', key)
  local too_old = kept_count == 0 and 0 or call('ZCOUNT', key, '-inf', string.format('(%.0f', NOW - age_ms))
  local too_many, bytes_over = kept_count - count_max, kept_count * KEPT_BYTES_MIN + excess - bytes_max
  local surplus = { ids = {}, excess = 0, more = false, counts = { 0, 0, 0 }, oldest = {}, tombstones = {} }
  -- Each job counts KEPT_BYTES_MIN at least.
  local wanted = math.min(kept_count, math.max(too_old, too_many, math.ceil(bytes_over / KEPT_BYTES_MIN)))
  if wanted <= 0 then return surplus end
  -- Instants are read only where tombstones need all of them: the server formats each as a text.
  local leaves_tombstones = key == DEAD or key == POISONED
  local last = math.min(wanted, left) - 1
  local oldest, step, n = {}, leaves_tombstones and 2 or 1, 0
  if left > 0 then
    oldest = leaves_tombstones and call('ZRANGE', key, 0, last, 'WITHSCORES') or call('ZRANGE', key, 0, last)
  end
  for k = 1, #oldest, step do
    local reason = n < too_old and 1 or n < too_many and 2 or bytes_over > 0 and 3
    if not reason or freed + surplus.excess >= FREED_BYTES_MAX then break end
    n = n + 1
    local above = excess_of(oldest[k])
    surplus.ids[n], surplus.excess = oldest[k], surplus.excess + above
    bytes_over = bytes_over - KEPT_BYTES_MIN - above
    surplus.counts[reason] = surplus.counts[reason] + 1
    -- A longer id was written by hand.
    if leaves_tombstones and #oldest[k] < 256 then
      surplus.tombstones[#surplus.tombstones + 1] = tombstone(oldest[k], letter, REASONS[reason], oldest[k + 1], '')
    end
    surplus.oldest[reason] = surplus.oldest[reason] or leaves_tombstones and oldest[k + 1] or call('ZSCORE', key, oldest[k])
  end
  surplus.more = n < kept_count and (n < too_old or n < too_many or bytes_over > 0)
  return surplus
end

local left, freed, removed_count, more, trimmed = limit, 0, 0, 0, {}
for i, key in ipairs(FINAL) do
  local excess = math.max(0, tonumber(excesses[i]) or 0)
  local surplus = surplus_of(key, LETTERS[i], tonumber(ARGV[2 + 3 * i]), tonumber(ARGV[3 + 3 * i]), tonumber(ARGV[4 + 3 * i]), excess, left, freed)
  local removed = #surplus.ids
  if surplus.more then more = 1 end
  if removed > 0 then
    call('ZREMRANGEBYRANK', key, 0, removed - 1)
    delete_jobs(surplus.ids)
    add_tombstones(surplus.tombstones)
    left, freed = left - removed, freed + surplus.excess
    removed_count = removed_count + removed
    count_excess(key, -surplus.excess)
    for r = 1, #REASONS do
      if surplus.counts[r] > 0 then
        local t = #trimmed
        trimmed[t + 1], trimmed[t + 2], trimmed[t + 3], trimmed[t + 4] = LETTERS[i], REASONS[r], surplus.counts[r], surplus.oldest[r]
      end
    end
    if key == DEAD then count('trimmed_dead', removed) elseif key == POISONED then count('trimmed_poisoned', removed) end
  end
  -- Nothing is kept, so nothing counts: an error of the counter ends here.
  if excesses[i] and tonumber(excesses[i]) ~= 0 and call('ZCARD', key) == 0 then call('HSET', STATS, EXCESS_FIELDS[key], 0) end
end
count('trimmed', removed_count)
sweep_replay_slots(SLOTS_SCANNED_MAX)
return replay_close({ 'ok', NOW, removed_count, more, trimmed })
