-- reclaim.lua: reclaim expired leases.
-- Guarantee: an expired lease is reclaimed once, however many callers ask. After a reclaim gap, in which perhaps no worker could renew,
-- nothing is reclaimed for one more lease (the lease grace). There is a gap if there are leases and the previous run of this script is
-- missing or more than half a lease ago: half of the shortest lease in use. The grace lasts for the longest lease in use, but not for
-- more than twice the gap: a longer lease left enough time to renew it. A lease that ends further from now than the longest lease in use,
-- because the clock was set back by more than a small step, now ends that far from now. A crash is counted only where the handler is
-- known to have started.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit, 5 lease ms of the caller, 6 crashes that poison, 7 losses in a row
--         that poison; a loss is an expired lease whose handler is not known to have started
-- Reply   {'ok', now, next expiry or '', grace until or '', a list of four values per reclaimed job: id, instance(16) or '',
--         crashes, state now (lib/state.lua) kind of the attempt (lib/history.lua), how many leases were shortened} | {'superseded'} | {'taken'} (lib/replay.lua)
local CLOCK_STEP_TOLERATED_MS = 1000

local limit, lease_ms, crashes_max, losses_max = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()

local leases = call('ZCARD', LEASE)
if leases > 0 and call('ZSCORE', LEASE, ENCODING_SENTINEL) then leases = leases - 1 end
if leases > 0 then check_all_types() end
local last_expiry -- of all leases; the encoding sentinel is behind it
local last_two = leases > 0 and call('ZRANGE', LEASE, -2, -1, 'WITHSCORES') or {}
for i = 2, #last_two, 2 do
  local expiry = tonumber(last_two[i])
  if expiry < math.huge then last_expiry = expiry end
end

-- A number in stats. One that was edited by hand counts as missing.
local function number_of(text)
  local n = tonumber(text)
  return n and n >= 0 and n < NUMBERS_MAX and n or nil
end
-- An instant that has passed. One that has not was stored before the clock was set back.
local function past_of(text)
  local instant = number_of(text)
  return instant and math.min(instant, NOW)
end
local stored = call('HMGET', STATS, 'reclaimed_at', 'grace_until', 'lease_longest_at', 'lease_shortest', 'lease_shortest_at')
local reclaimed_at, grace_until = past_of(stored[1]), number_of(stored[2]) or 0

-- A length is in use if it was noted (here, or the longest in lib/lease.lua) not long before the previous run: the shortest at most half
-- its length before, the longest at most its length before, because a lease may stand so long. Time is measured at the previous run, not
-- now, so that no length is forgotten in a gap.
local longest, longest_at = number_of(LONGEST_LEASE), past_of(stored[3])
if not longest or not longest_at or (reclaimed_at or 0) - longest_at > longest then
  longest, longest_at = math.max(lease_ms, (last_expiry or 0) - NOW), NOW
elseif lease_ms >= longest then
  longest, longest_at = lease_ms, NOW
end
local shortest, shortest_at = number_of(stored[4]), past_of(stored[5])
local in_use = shortest and shortest_at and reclaimed_at and reclaimed_at - shortest_at <= shortest / 2
-- A shorter lease of the caller does not count yet: until now nobody had to run this script as often as that.
local gap_min = math.floor((in_use and shortest or lease_ms) / 2)
if not in_use or lease_ms <= shortest then shortest, shortest_at = lease_ms, NOW end

local expiry_max = NOW + longest
-- No lease grace is longer than the longest lease. If one seems longer, it was given before the clock was set back, or written by hand. It is
-- shortened, not ended: the workers that it protects may not have renewed yet.
grace_until = math.min(grace_until, expiry_max)
local gap = reclaimed_at and NOW - reclaimed_at or math.huge
if leases > 0 and gap > gap_min then
  grace_until = math.max(grace_until, NOW + math.min(longest, 2 * gap))
  longest_at = NOW
end
call('HSET', STATS, 'reclaimed_at', NOW, 'grace_until', grace_until, 'lease_longest', longest, 'lease_longest_at', longest_at,
  'lease_shortest', shortest, 'lease_shortest_at', shortest_at)

local shortened = {}
local tolerated = expiry_max + math.min(CLOCK_STEP_TOLERATED_MS, math.floor(longest / 10))
if last_expiry and last_expiry > tolerated then
  local expiry_text = string.format('%.0f', expiry_max)
  local too_late = call('ZRANGEBYSCORE', LEASE, string.format('(%.0f', tolerated), '(+inf', 'LIMIT', 0, limit)
  for i = 1, #too_late do shortened[2 * i - 1], shortened[2 * i] = expiry_text, too_late[i] end
  call_in_chunks('ZADD', LEASE, shortened)
end

local reclaimed = {}
if leases == 0 or grace_until <= NOW then
  grace_until = nil
  local expired = leases > 0 and call('ZRANGEBYSCORE', LEASE, '-inf', NOW_TEXT, 'LIMIT', 0, limit, 'WITHSCORES') or {}
  local ids = {}
  for i = 1, #expired, 2 do ids[#ids + 1] = expired[i] end
  if #ids > 0 then
    local grants, old_retry_states = call('HMGET', GRANT, unpack(ids)), call('HMGET', RETRY, unpack(ids))
    local front, retry_states, history, evicted, poisoned, cancelled = {}, {}, {}, {}, {}, {}
    local garbage, crashes_counted, releases_counted = 0, 0, 0
    for i = 1, #ids do
      local id, g = ids[i], grants[i]
      if call('HEXISTS', JOB, id) == 0 then
        garbage = garbage + 1
      else
        local attempts, failures, crashes, releases = counters_of(old_retry_states[i])
        local instance, cancel_requested, begun = '', false, false
        if g and #g == GRANT_LEN then
          local flags = byte(g, GRANT_LEN)
          attempts, instance, cancel_requested, begun = struct.unpack('>I4', g), sub(g, 13, 28), flags % 2 == CANCEL, flags >= BEGUN
        else
          attempts = attempts + 1
        end
        local kind, losses_field, too_many = 'K', '', false
        if begun then
          crashes = crashes + 1
          crashes_counted = crashes_counted + 1
          too_many = crashes >= crashes_max
        else
          kind = crashes + releases > 0 and 'N' or 'W'
          local in_a_row = losses_until(id, attempts - 1) + 1
          losses_field, too_many = pack('>I4', in_a_row), in_a_row >= losses_max
          releases = releases + 1
          releases_counted = releases_counted + 1
        end
        local counters, state = pack('>I4I4I4I4', attempts, failures, crashes, releases), 'p'
        history[#history + 1] = id .. '\0' .. attempts
        history[#history + 1] = NOW6 .. kind .. (instance == '' and string.rep('\0', 16) or instance)
          .. pack('>I6', math.max(0, math.min(tonumber(expired[2 * i]), NOW))) .. losses_field
        evict_attempt(evicted, id, attempts)
        if cancel_requested or too_many then
          local list = too_many and poisoned or cancelled
          state = too_many and 'o' or 'x'
          note_ended(id, state)
          list[#list + 1] = NOW_TEXT
          list[#list + 1] = id
          retry_states[#retry_states + 1] = id
          retry_states[#retry_states + 1] = counters .. NO_VERSION
        else
          front[#front + 1] = id
          front[#front + 1] = counters
        end
        local n = #reclaimed
        reclaimed[n + 1], reclaimed[n + 2], reclaimed[n + 3], reclaimed[n + 4] = id, instance, crashes, state .. kind
      end
    end
    call('ZREM', LEASE, unpack(ids))
    call('HDEL', GRANT, unpack(ids))
    call_in_chunks('HDEL', HISTORY, evicted)
    put(HISTORY, histories_kept, history)
    add_ended(POISONED, poisoned)
    add_ended(CANCELLED, cancelled)
    push('LPUSH', front, retry_states)
    put(RETRY, retry_kept, retry_states)
    count('crashes', crashes_counted)
    count('releases', releases_counted)
    count('garbage', garbage)
  end
end
local earliest = leases > 0 and call('ZRANGE', LEASE, 0, 0, 'WITHSCORES') or {}
return replay_close({ 'ok', NOW, earliest[1] and earliest[1] ~= ENCODING_SENTINEL and earliest[2] or '', grace_until or '', reclaimed,
  #shortened / 2 })
