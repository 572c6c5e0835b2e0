-- reclaim.lua: reclaim expired leases.
-- Guarantee: an expired lease is reclaimed once, however many callers ask, and never while no worker could renew: when there are
-- leases and the previous run is missing or older than half a lease, all leases get one more lease of grace. A crash is
-- charged only where the handler had started.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit, 5 lease ms, 6 crashes that poison, 7 losses in a row that
--         poison
-- Reply   {'ok', now, next expiry or '', grace until or '', four values for each job taken: id, owner(16) or '',
--         crashes, state now (lib/state.lua) and kind of loss (lib/history.lua), in a list} | {'superseded'} | {'other'}
local limit, lease_ms, crashes_max, losses_max = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end

local grace_until, leases = 0, call('ZCARD', LEASE)
if leases > 0 and call('ZSCORE', LEASE, ENCODING_SENTINEL) then leases = leases - 1 end
if leases > 0 then
  local seen = call('HMGET', STATS, 'reclaimed_at', 'grace_until')
  local reclaimed_at = tonumber(seen[1])
  grace_until = tonumber(seen[2]) or 0
  check_all_types()
  if not (reclaimed_at and NOW - reclaimed_at <= math.floor(lease_ms / 2)) then
    grace_until = NOW + lease_ms
    call('HSET', STATS, 'grace_until', grace_until)
  end
end
call('HSET', STATS, 'reclaimed_at', NOW)

local taken = {}
-- A grace of more than one lease was written by no run of this script.
if grace_until <= NOW or grace_until > NOW + lease_ms then
  grace_until = nil
  local expired = leases > 0 and call('ZRANGEBYSCORE', LEASE, '-inf', NOW_TEXT, 'LIMIT', 0, limit, 'WITHSCORES') or {}
  local ids = {}
  for i = 1, #expired, 2 do ids[#ids + 1] = expired[i] end
  if #ids > 0 then
    local grants, before = call('HMGET', GRANT, unpack(ids)), call('HMGET', RETRY, unpack(ids))
    local front, retry_states, history, cut, poisoned, cancelled = {}, {}, {}, {}, {}, {}
    local garbage, crashed, released = 0, 0, 0
    for i = 1, #ids do
      local id, g = ids[i], grants[i]
      if call('HEXISTS', JOB, id) == 0 then
        garbage = garbage + 1
      else
        local attempts, failures, crashes, releases = counters_of(before[i])
        local owner, cancel_requested, begun = '', false, false
        if g and #g == GRANT_LEN then
          local flags = byte(g, GRANT_LEN)
          attempts, owner, cancel_requested, begun = struct.unpack('>I4', g), sub(g, 13, 28), flags % 2 == CANCEL, flags >= BEGUN
        else
          attempts = attempts + 1
        end
        local kind, tail, too_many = 'K', '', false
        if begun then
          crashes = crashes + 1
          crashed = crashed + 1
          too_many = crashes >= crashes_max
        else
          kind = crashes + releases > 0 and 'N' or 'W'
          local in_a_row = losses_until(id, attempts - 1) + 1
          tail, too_many = pack('>I4', in_a_row), in_a_row >= losses_max
          releases = releases + 1
          released = released + 1
        end
        local counters, state = pack('>I4I4I4I4', attempts, failures, crashes, releases), 'p'
        history[#history + 1] = id .. '\0' .. attempts
        history[#history + 1] = NOW6 .. kind .. (owner == '' and string.rep('\0', 16) or owner)
          .. pack('>I6', math.max(0, math.min(tonumber(expired[2 * i]), NOW))) .. tail
        evict_attempt(cut, id, attempts)
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
        local n = #taken
        taken[n + 1], taken[n + 2], taken[n + 3], taken[n + 4] = id, owner, crashes, state .. kind
      end
    end
    call('ZREM', LEASE, unpack(ids))
    call('HDEL', GRANT, unpack(ids))
    each('HDEL', HISTORY, cut)
    put(HISTORY, histories_kept, history)
    each('ZADD', POISONED, poisoned)
    each('ZADD', CANCELLED, cancelled)
    push('LPUSH', front, retry_states)
    put(RETRY, retry_kept, retry_states)
    count('crashes', crashed)
    count('releases', released)
    count('garbage', garbage)
  end
end
local first = leases > 0 and call('ZRANGE', LEASE, 0, 0, 'WITHSCORES') or {}
return replay_close({ 'ok', NOW, first[1] and first[1] ~= ENCODING_SENTINEL and first[2] or '', grace_until or '', taken })
