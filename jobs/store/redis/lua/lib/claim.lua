-- lib/claim.lua: how attempts begin.
local IDLE_MS = 60000     -- how long a claim that found too little counts as an idle worker: at least twice the longest poll
local SKIPPED_MAX = 1000  -- stale entries one call skips

-- Records that a worker found too little and is about to wait; not in every call.
local function about_to_wait()
  if IDLE_UNTIL < NOW + IDLE_MS / 2 then call('HSET', STATS, 'idle_until', NOW + IDLE_MS) end
end

-- Checks the types of the keys a claim writes (lib/queue.lua). Returns the size of the job at the front, which decides how
-- many bodies are read at once, so that a queue of large jobs is not read completely.
local function size_of_front()
  retry_kept = call('HLEN', RETRY)
  leases_kept, grants_kept = call('ZCARD', LEASE), call('HLEN', GRANT)
  local front = call('LINDEX', PENDING, 0)
  return call('HSTRLEN', JOB, front and sub(front, 7) or '')
end

-- Grants up to `limit` jobs from the front of pending, of at most `bytes_max` together, or one; `size` is that of
-- size_of_front. Returns ids, bodies, retry_states; the last is empty when no granted job has a retry state, else '' stands
-- for none.
local function claim(limit, lease_ms, bytes_max, nonce, size)
  local ids, bodies, retry_states = {}, {}, {}
  local n, bytes, any_retry_state, full = 0, 0, false, false
  local skipped, garbage, stale = 0, 0, 0
  local grant_tail = nonce .. sub(REPLAY_SLOT, 1, 16)
  local first_grant = '\0\0\0\1' .. grant_tail .. '\0'
  local later_grants = {} -- by the number of earlier attempts
  local leases, grants, damaged = {}, {}, nil
  local expiry = string.format('%.0f', NOW + lease_ms)

  while n < limit and not full and skipped <= SKIPPED_MAX do
    local want = limit - n
    if size * want > bytes_max - bytes then want = math.max(1, math.floor((bytes_max - bytes) / size)) end
    local entries = call('LPOP', PENDING, want)
    if not entries then break end
    local m, found = #entries, {}
    for i = 1, m do found[i] = sub(entries[i], 7) end
    local read = call('HMGET', JOB, unpack(found))
    local before = retry_kept > 0 and call('HMGET', RETRY, unpack(found))
    local seen_bytes = 0
    if not before and n == 0 then
      -- The common case: no job of the queue has a retry state, and every entry is live and fits.
      for i = 1, m do
        local body = read[i]
        if not body or #body < HEADER or sub(entries[i], 1, 6) ~= sub(body, 1, 6) then break end
        bytes = bytes + #body
        if bytes > bytes_max and i > 1 then break end
        n = i
        leases[2 * i - 1], leases[2 * i] = expiry, found[i]
        grants[2 * i - 1], grants[2 * i] = found[i], first_grant
      end
      if n == m then
        ids, bodies, seen_bytes = found, read, bytes
        m = 0
      else
        n, bytes, leases, grants = 0, 0, {}, {}
      end
    end
    for i = 1, m do
      local id, body, retry = found[i], read[i], before and before[i]
      if not body then
        if #entries[i] < 7 then garbage = garbage + 1 else stale = stale + 1 end
        skipped = skipped + 1
      elseif #body < HEADER or (retry and #retry < RETRY_LEN) then
        damaged = damaged or {}
        damaged[#damaged + 1] = id
        skipped = skipped + 1
      elseif not has_entry_version(entries[i], retry or body, retry and 17 or 1) then
        stale = stale + 1
        skipped = skipped + 1
      else
        local len = #body
        if n > 0 and bytes + len > bytes_max then
          -- Entries that do not fit return to the front.
          local rest, k = {}, 0
          for j = m, i, -1 do k = k + 1; rest[k] = entries[j] end
          call('LPUSH', PENDING, unpack(rest))
          full = true
          break
        end
        n = n + 1
        bytes = bytes + len
        seen_bytes = seen_bytes + len
        ids[n], bodies[n] = id, body
        leases[2 * n - 1], leases[2 * n] = expiry, id
        grants[2 * n - 1] = id
        if retry then
          any_retry_state = true
          retry_states[n] = retry
          local attempts = sub(retry, 1, 4)
          local grant = later_grants[attempts]
          if not grant then
            grant = pack('>I4', struct.unpack('>I4', retry) + 1) .. grant_tail .. '\2'
            later_grants[attempts] = grant
          end
          grants[2 * n] = grant
        else
          grants[2 * n] = first_grant
        end
      end
    end
    if seen_bytes > 0 then size = seen_bytes / #entries end
  end

  if n > 0 then
    if leases_kept == 0 then call('ZADD', LEASE, 'inf', ENCODING_SENTINEL) end
    local added = call('ZADD', LEASE, 'NX', unpack(leases))
    if added < n then
      -- An entry was copied by hand: a leased job is not granted again.
      local held, fresh, k = call('HMGET', GRANT, unpack(ids)), {}, 0
      for i = 1, n do
        local id = ids[i]
        if held[i] or fresh[id] then
          garbage = garbage + 1
        else
          k = k + 1
          fresh[id] = true
          ids[k], bodies[k], retry_states[k] = id, bodies[i], retry_states[i]
          grants[2 * k - 1], grants[2 * k] = id, grants[2 * i]
        end
      end
      for i = k + 1, n do ids[i], bodies[i], retry_states[i], grants[2 * i - 1], grants[2 * i] = nil, nil, nil, nil, nil end
      n = k
    end
    put(GRANT, grants_kept, grants)
  end
  if damaged then
    -- The types of these keys were not checked: if one is wrong, the grants must still succeed.
    for i = 1, #damaged do
      redis.pcall('ZADD', POISONED, NOW_TEXT, damaged[i])
      redis.pcall('HSET', RETRY, damaged[i], string.rep('\0', RETRY_LEN))
      redis.pcall('HSET', HISTORY, damaged[i] .. '\0000', NOW6 .. 'G')
      note_ended(damaged[i], 'o')
    end
    garbage = garbage + #damaged
  end
  if stale > 0 then count('stale', -math.min(stale, math.max(STALE, 0))) end
  count('garbage', garbage)
  if n < limit and not full then about_to_wait() end

  if any_retry_state then
    for i = 1, n do retry_states[i] = retry_states[i] or '' end
  else
    retry_states = {}
  end
  return ids, bodies, retry_states
end

-- The reply to a claim sent again: the jobs it granted that it still holds.
local function claimed(granted, nonce)
  local ids, bodies, retry_states = {}, {}, {}
  if #granted == 0 then return ids, bodies, retry_states end
  local grants = call('HMGET', GRANT, unpack(granted))
  local read = call('HMGET', JOB, unpack(granted))
  local before = call('HMGET', RETRY, unpack(granted))
  for i = 1, #granted do
    if grants[i] and sub(grants[i], 5, 12) == nonce and read[i] then
      local n = #ids + 1
      ids[n], bodies[n], retry_states[n] = granted[i], read[i], before[i] or ''
    end
  end
  return ids, bodies, retry_states
end
