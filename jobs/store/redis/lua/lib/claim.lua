-- lib/claim.lua: how attempts begin.
local IDLE_MS = 60000     -- how long a claim that found too little is taken for a sleeper; twice the longest poll at least
local SKIPPED_MAX = 1000  -- dead entries one call passes over

-- Somebody found too little, and is about to wait: says so, but not in every call.
local function about_to_wait()
  if IDLE_UNTIL < NOW + IDLE_MS / 2 then call('HSET', STATS, 'idle_until', NOW + IDLE_MS) end
end

-- Meets what a claim writes (lib/queue.lua), before anything is written. Gives the size of the job at the front: it tells
-- how many bodies to read at once, so that a queue of large ones is not read whole.
local function look_ahead()
  pasts_kept = call('HLEN', PAST)
  leases_kept, grants_kept = call('ZCARD', LEASE), call('HLEN', GRANT)
  local front = call('LINDEX', PENDING, 0)
  return call('HSTRLEN', JOB, front and sub(front, 7) or '')
end

-- Grants up to `limit` jobs from the front of pending, of at most `max_bytes` together, or one; `size` is look_ahead's.
-- Gives { ids, bodies, pasts }; pasts is empty when no job granted has one, else '' stands for none.
local function claim(limit, lease_ms, max_bytes, nonce, size)
  local ids, bodies, pasts = {}, {}, {}
  local n, bytes, any_past, full = 0, 0, false, false
  local skipped, garbage, stale = 0, 0, 0
  local grant_tail = nonce .. sub(REPLAY_SLOT, 1, 16)
  local first_grant = '\0\0\0\1' .. grant_tail .. '\0'
  local later_grants = {} -- by the attempts before
  local leases, grants, buried = {}, {}, nil
  local expiry = string.format('%.0f', NOW + lease_ms)

  while n < limit and not full and skipped <= SKIPPED_MAX do
    local want = limit - n
    if size * want > max_bytes - bytes then want = math.max(1, math.floor((max_bytes - bytes) / size)) end
    local entries = call('LPOP', PENDING, want)
    if not entries then break end
    local m, found = #entries, {}
    for i = 1, m do found[i] = sub(entries[i], 7) end
    local read = call('HMGET', JOB, unpack(found))
    local before = pasts_kept > 0 and call('HMGET', PAST, unpack(found))
    local seen_bytes = 0
    if not before and n == 0 then
      -- The usual slice: no job of the queue has a past, and every entry is live and fits.
      for i = 1, m do
        local body = read[i]
        if not body or #body < HEADER or sub(entries[i], 1, 6) ~= sub(body, 1, 6) then break end
        bytes = bytes + #body
        if bytes > max_bytes and i > 1 then break end
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
      local id, body, p = found[i], read[i], before and before[i]
      if not body then
        if #entries[i] < 7 then garbage = garbage + 1 else stale = stale + 1 end
        skipped = skipped + 1
      elseif #body < HEADER or (p and #p < PAST_LEN) then
        buried = buried or {}
        buried[#buried + 1] = id
        skipped = skipped + 1
      elseif not live(entries[i], p or body, p and 17 or 1) then
        stale = stale + 1
        skipped = skipped + 1
      else
        local len = #body
        if n > 0 and bytes + len > max_bytes then
          -- What does not fit goes back where it was.
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
        if p then
          any_past = true
          pasts[n] = p
          local attempts = sub(p, 1, 4)
          local grant = later_grants[attempts]
          if not grant then
            grant = pack('>I4', struct.unpack('>I4', p) + 1) .. grant_tail .. '\2'
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
    if leases_kept == 0 then call('ZADD', LEASE, 'inf', ROOM) end
    local added = call('ZADD', LEASE, 'NX', unpack(leases))
    if added < n then
      -- An entry copied by hand: a job somebody holds is not granted again.
      local held, fresh, k = call('HMGET', GRANT, unpack(ids)), {}, 0
      for i = 1, n do
        local id = ids[i]
        if held[i] or fresh[id] then
          garbage = garbage + 1
        else
          k = k + 1
          fresh[id] = true
          ids[k], bodies[k], pasts[k] = id, bodies[i], pasts[i]
          grants[2 * k - 1], grants[2 * k] = id, grants[2 * i]
        end
      end
      for i = k + 1, n do ids[i], bodies[i], pasts[i], grants[2 * i - 1], grants[2 * i] = nil, nil, nil, nil, nil end
      n = k
    end
    put(GRANT, grants_kept, grants)
  end
  if buried then
    -- These keys were not met: were one damaged as well, the grants must still come through.
    for i = 1, #buried do
      redis.pcall('ZADD', POISONED, NOW_TEXT, buried[i])
      redis.pcall('HSET', PAST, buried[i], string.rep('\0', PAST_LEN))
      redis.pcall('HSET', HISTORY, buried[i] .. '\0000', NOW6 .. 'G')
    end
    garbage = garbage + #buried
  end
  if stale > 0 then count('stale', -math.min(stale, math.max(STALE, 0))) end
  count('garbage', garbage)
  if n < limit and not full then about_to_wait() end

  if any_past then
    for i = 1, n do pasts[i] = pasts[i] or '' end
  else
    pasts = {}
  end
  return ids, bodies, pasts
end

-- What a claim sent again is answered: the jobs it granted that are still its own.
local function claimed(granted, nonce)
  local ids, bodies, pasts = {}, {}, {}
  if #granted == 0 then return ids, bodies, pasts end
  local grants = call('HMGET', GRANT, unpack(granted))
  local read = call('HMGET', JOB, unpack(granted))
  local before = call('HMGET', PAST, unpack(granted))
  for i = 1, #granted do
    if grants[i] and sub(grants[i], 5, 12) == nonce and read[i] then
      local n = #ids + 1
      ids[n], bodies[n], pasts[n] = granted[i], read[i], before[i] or ''
    end
  end
  return ids, bodies, pasts
end
