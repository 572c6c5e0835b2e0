-- lib/claim.lua: grants jobs, which begins their attempts.
local IDLE_MS = 60000     -- how long a worker counts as idle after a claim that found too few jobs; idle workers claim again every few seconds
local SKIPPED_MAX = 1000  -- a claim ends when it has skipped more entries than this, because they were stale, damaged or written by hand
-- Why the claim ended before it had enough jobs: 1 at SKIPPED_MAX or READ_BYTES_MAX, so there may be jobs behind what it has seen; 2 because the
-- next job did not fit into its bytes; 0 because there were no more, or it had enough.
local cut_short = 0

-- Whether a record that a worker is idle holds for long enough. To save writes, one that holds for another IDLE_MS / 2 is not written again.
local function is_idle_noted() return IDLE_UNTIL >= NOW + IDLE_MS / 2 end

-- Records that a worker found fewer jobs than it wanted and may wait for a hint now.
local function note_idle()
  if not is_idle_noted() then call('HSET', STATS, 'idle_until', NOW + IDLE_MS) end
end

-- Checks the types of the keys that a claim writes (lib/queue.lua). Returns the size of the body at the front of pending. From it
-- `claim` estimates how many bodies to read first, so that it does not read far more bytes than it may grant.
local function check_types_and_size_front()
  retry_kept = call('HLEN', RETRY)
  lease_members, grants_kept = call('ZCARD', LEASE), call('HLEN', GRANT)
  local front = call('LINDEX', PENDING, 0)
  return call('HSTRLEN', JOB, front and sub(front, 7) or '')
end

-- The retry states of jobs, or false if none of them has one. Every entry is asked for as long as any job has a retry state: only that tells
-- that the entry of a cancelled job is stale.
local function retry_states_of(ids)
  if retry_kept == 0 then return false end
  local read = call('HMGET', RETRY, unpack(ids))
  for i = 1, #ids do
    if read[i] then return read end
  end
  return false
end

-- Puts the entries from the index `first` to `last`, which a claim has taken, back to the front of pending.
local function return_to_front(entries, first, last)
  local returned, k = {}, 0
  for j = last, first, -1 do k = k + 1; returned[k] = entries[j] end
  call('LPUSH', PENDING, unpack(returned))
end

-- Grants up to `limit` jobs from the front of pending, with at most `bytes_max` bytes of bodies; one job is granted whatever its
-- size. `size_estimate` is the result of check_types_and_size_front. Returns ids, bodies, retry_states; retry_states is empty when no granted
-- job has a retry state, otherwise it has '' for each job without one.
local function claim(limit, lease_ms, bytes_max, nonce, size_estimate)
  local ids, bodies, retry_states = {}, {}, {}
  local n, bytes, any_retry_state = 0, 0, false
  local skipped, garbage, stale, bytes_read = 0, 0, 0, 0
  local grant_tail = nonce .. sub(REPLAY_SLOT, 1, 16) .. NOW6 -- nonce, process instance, claimed at
  local first_grant = '\0\0\0\1' .. grant_tail .. '\0' -- attempt 1, no flags
  local grant_by_attempts = {} -- the grants of jobs with a retry state, by their attempts(4) so far: jobs with the same number share one
  local leases, grants, damaged = {}, {}, nil
  local expiry = string.format('%.0f', NOW + lease_ms)
  -- The encoding sentinel, left alone, leaves: no job has a retry state any more, and no script has to look for one.
  if retry_kept == 1 then retry_kept = 1 - call('HDEL', RETRY, ENCODING_SENTINEL) end

  while n < limit and cut_short == 0 do
    if skipped > SKIPPED_MAX then
      cut_short = 1
      break
    end
    local wanted = limit - n
    if size_estimate * wanted > bytes_max - bytes then wanted = math.max(1, math.floor((bytes_max - bytes) / size_estimate)) end
    local entries = call('LPOP', PENDING, wanted)
    if not entries then break end
    local ids_read = {}
    for i = 1, #entries do ids_read[i] = sub(entries[i], 7) end
    local remaining = last_readable(ids_read, 1, #entries, bytes_read)
    if remaining < #entries then
      return_to_front(entries, remaining + 1, #entries)
      if remaining == 0 then
        cut_short = 1
        break
      end
      for i = remaining + 1, #entries do ids_read[i] = nil end
    end
    local bodies_read = call('HMGET', JOB, unpack(ids_read))
    local retry_states_read = retry_states_of(ids_read)
    local bytes_granted = 0
    if not retry_states_read and n == 0 then
      -- The common case: none of these jobs has a retry state, and every entry is live and fits. Otherwise nothing of this is kept,
      -- and the general case below handles all the entries.
      for i = 1, remaining do
        local body = bodies_read[i]
        if not body or #body < HEADER or sub(entries[i], 1, 6) ~= sub(body, 1, 6) then break end
        bytes = bytes + #body
        if bytes > bytes_max and i > 1 then break end
        n = i
        leases[2 * i - 1], leases[2 * i] = expiry, ids_read[i]
        grants[2 * i - 1], grants[2 * i] = ids_read[i], first_grant
      end
      if n == remaining then
        ids, bodies, bytes_granted, bytes_read = ids_read, bodies_read, bytes, bytes_read + bytes
        remaining = 0 -- nothing is left for the general case
      else
        n, bytes, leases, grants = 0, 0, {}, {}
      end
    end
    for i = 1, remaining do
      local id, body, retry = ids_read[i], bodies_read[i], retry_states_read and retry_states_read[i]
      if body then bytes_read = bytes_read + #body end
      if not body then
        if #entries[i] < 7 then garbage = garbage + 1 else stale = stale + 1 end
        skipped = skipped + 1
      elseif #body < HEADER or (retry and #retry < RETRY_LEN) then
        if retry and #retry >= RETRY_LEN and sub(retry, 17, 22) == NO_VERSION then
          stale = stale + 1 -- it was poisoned by a repair already
        else
          damaged = damaged or {}
          damaged[#damaged + 1] = id
        end
        skipped = skipped + 1
      elseif not has_entry_version(entries[i], retry or body, retry and 17 or 1) then
        stale = stale + 1
        skipped = skipped + 1
      else
        local len = #body
        if n > 0 and bytes + len > bytes_max then
          -- The entries that do not fit return to the front.
          return_to_front(entries, i, remaining)
          cut_short = 2
          break
        end
        n = n + 1
        bytes = bytes + len
        bytes_granted = bytes_granted + len
        ids[n], bodies[n] = id, body
        leases[2 * n - 1], leases[2 * n] = expiry, id
        grants[2 * n - 1] = id
        if retry then
          any_retry_state = true
          retry_states[n] = retry
          local attempts = sub(retry, 1, 4)
          local grant = grant_by_attempts[attempts]
          if not grant then
            grant = pack('>I4', struct.unpack('>I4', retry) + 1) .. grant_tail .. string.char(HAS_RETRY_STATE)
            grant_by_attempts[attempts] = grant
          end
          grants[2 * n] = grant
        else
          grants[2 * n] = first_grant
        end
      end
    end
    if bytes_granted > 0 then size_estimate = bytes_granted / #entries end
  end

  if n > 0 then
    use_lease(lease_ms)
    if lease_members == 0 then call('ZADD', LEASE, 'inf', ENCODING_SENTINEL) end
    local leases_added = call('ZADD', LEASE, 'NX', unpack(leases))
    if leases_added < n then
      -- Somebody copied an entry by hand. A leased job must not be granted again.
      local grants_held, granted_here, k = call('HMGET', GRANT, unpack(ids)), {}, 0
      for i = 1, n do
        local id = ids[i]
        if grants_held[i] or granted_here[id] then
          garbage = garbage + 1
        else
          k = k + 1
          granted_here[id] = true
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
    -- These jobs are poisoned. The types of the keys were not checked; pcall, so that the grants succeed even if a key has a wrong type.
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
  if n < limit and cut_short == 0 then note_idle() end

  if any_retry_state then
    for i = 1, n do retry_states[i] = retry_states[i] or '' end
  else
    retry_states = {}
  end
  return ids, bodies, retry_states
end

-- The number of a claim that granted n jobs; 0 if it asked for none, or granted nothing.
local function number_of_claim(is_numbered, n) return is_numbered and n > 0 and draw('claims', 1) + 1 or 0 end

-- For a claim that was sent again: which of the jobs it granted are still held under its nonce. Returns ids, bodies and retry_states,
-- with '' for each job without a retry state.
local function still_held(granted, nonce)
  local ids, bodies, retry_states = {}, {}, {}
  if #granted == 0 then return ids, bodies, retry_states end
  local grants = call('HMGET', GRANT, unpack(granted))
  local bodies_read = call('HMGET', JOB, unpack(granted))
  local retry_states_read = call('HMGET', RETRY, unpack(granted))
  for i = 1, #granted do
    if grants[i] and sub(grants[i], 5, 12) == nonce and bodies_read[i] then
      local n = #ids + 1
      ids[n], bodies[n], retry_states[n] = granted[i], bodies_read[i], retry_states_read[i] or ''
    end
  end
  return ids, bodies, retry_states
end
