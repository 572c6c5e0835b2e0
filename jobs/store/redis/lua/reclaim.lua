-- reclaim.lua: reclaim expired leases.
-- Guarantee: an expired lease is reclaimed once, however many callers ask. After an outage, in which no worker could renew, nothing is
-- reclaimed for one more lease (the lease grace). The script notices an outage when there are leases and its previous run is missing
-- or more than half a lease ago. A crash is counted only where the handler is known to have started.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit, 5 lease ms, 6 crashes that poison, 7 losses in a row
--         that poison; a loss is an expired lease whose handler is not known to have started
-- Reply   {'ok', now, next expiry or '', grace until or '', a list of four values per reclaimed job: id, instance(16) or '',
--         crashes, state now (lib/state.lua) kind of the attempt (lib/history.lua)} | {'superseded'} | {'other'} (lib/replay.lua)
local limit, lease_ms, crashes_max, losses_max = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'other' then return { status } end
if status == 'again' then return stored_reply end
begin_writes()

local grace_until, leases = 0, call('ZCARD', LEASE)
if leases > 0 and call('ZSCORE', LEASE, ENCODING_SENTINEL) then leases = leases - 1 end
if leases > 0 then
  local stamps = call('HMGET', STATS, 'reclaimed_at', 'grace_until')
  local reclaimed_at = tonumber(stamps[1])
  grace_until = tonumber(stamps[2]) or 0
  check_all_types()
  if not (reclaimed_at and NOW - reclaimed_at <= math.floor(lease_ms / 2)) then
    grace_until = NOW + lease_ms
    call('HSET', STATS, 'grace_until', grace_until)
  end
end
call('HSET', STATS, 'reclaimed_at', NOW)

local reclaimed = {}
-- A lease grace of more than one lease was written by hand, or before the clock went back; it does not count.
if grace_until <= NOW or grace_until > NOW + lease_ms then
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
    each('HDEL', HISTORY, evicted)
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
return replay_close({ 'ok', NOW, earliest[1] and earliest[1] ~= ENCODING_SENTINEL and earliest[2] or '', grace_until or '', reclaimed })
