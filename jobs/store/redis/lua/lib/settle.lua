-- lib/settle.lua: how attempts end.
-- A group in ARGV is: verdict(1) recorded(1: r each id has a record, - none) attempt(4) nonce(8) delay ms(6),
-- n, n ids, n records or none. Jobs of one claim that end alike are one group.
--   verdict  C completed and kept, G completed and deleted, X cancelled;
--            R retry after the delay, D dead, P poisoned: these charge a failure;
--            F release to the front of pending, L release after the delay, A given up as dead: these charge a release
local FINAL = { c = true, d = true, o = true, x = true }
local CHARGES_FAILURE = { R = true, D = true, P = true }
local CHARGES_RELEASE = { F = true, L = true, A = true }
local CANCELLABLE = { R = true, F = true, L = true } -- become X when a cancellation was requested

-- Keeps, of jobs that completed and were deleted, the outcome of those that somebody waits for, until that wait is over.
-- watch_outcome.lua answers with it, so that no waiter depends on a hint.
local function keep_outcomes(ids)
  if #ids == 0 then return end
  local waits, kept, over = {}, {}, {}
  for k = 1, #ids do waits[k] = 'w' .. ids[k] end
  local until_ms = redis.pcall('ZMSCORE', AWAITED_JOBS, unpack(waits))
  if until_ms.err then return end
  for k = 1, #ids do
    if until_ms[k] and tonumber(until_ms[k]) > NOW then
      kept[#kept + 1], kept[#kept + 2] = until_ms[k], 'c' .. ids[k]
      over[#over + 1] = waits[k]
    end
  end
  if #kept == 0 then return end
  redis.pcall('ZREM', AWAITED_JOBS, unpack(over))
  redis.pcall('ZADD', AWAITED_JOBS, unpack(kept))
end

-- Ends the attempts in the groups from ARGV[first] on. Returns one char per id: the state the job has now (lib/state.lua),
-- or s: stale, because the lease is held by another worker or by none; nothing was changed.
local function settle(first)
  local ids, groups, records, n = {}, {}, {}, 0
  local i = first
  while i < #ARGV do
    local op, many = ARGV[i], tonumber(ARGV[i + 1])
    for k = i + 2, i + 1 + many do
      n = n + 1
      ids[n] = ARGV[k]
    end
    groups[#groups + 1] = { op, n }
    i = i + 2 + many
    if byte(op, 2) == 114 then
      for k = 0, many - 1 do records[n - many + 1 + k] = ARGV[i + k] end
      i = i + many
    end
  end
  if n == 0 then return '' end
  if not retry_kept then retry_kept = call('HLEN', RETRY) end
  local grants = call('HMGET', GRANT, unpack(ids))

  -- The common case: first attempts that completed and are not kept.
  local plain = 0
  for group = 1, #groups do
    local op, to = groups[group][1], groups[group][2]
    if sub(op, 1, 1) ~= 'G' then break end
    local usual = sub(op, 3, 14) .. sub(REPLAY_SLOT, 1, 16) .. '\0'
    while plain < to and grants[plain + 1] == usual do plain = plain + 1 end
    if plain < to then break end
  end
  if plain == n then
    call('HLEN', JOB)
    call('ZREM', LEASE, unpack(ids))
    -- Fewer grants than ids: an id was named twice, which the general case below handles.
    if call('HDEL', GRANT, unpack(ids)) == n then
      call('HDEL', JOB, unpack(ids))
      count('completed', n)
      if AWAITED then
        for k = 1, n do note_ended(ids[k], 'c') end
        keep_outcomes(ids)
      end
      return string.rep('c', n)
    end
  end

  -- Everything is decided before anything is written. A first attempt that completed is the common case and is cheap.
  -- The lists have counters of their own, because `#` of a growing table is a search.
  local states, out, gone, others, history, kept, stale
  local function decide(twice)
    states, out, gone, others, history, kept, stale = {}, {}, {}, {}, {}, {}, 0
    local settled, removed, completed, recorded, from = 0, 0, 0, 0, 1
    for group = 1, #groups do
      local op, to = groups[group][1], groups[group][2]
      local token, verdict = sub(op, 3, 14), sub(op, 1, 1)
      local keep = verdict == 'C'
      local usual = (keep or verdict == 'G') and token .. sub(REPLAY_SLOT, 1, 16) .. '\0'
      local suffix = '\0' .. struct.unpack('>I4', token)
      for k = from, to do
        local g = grants[k]
        if twice and twice[k] then g = false end
        if g and g == usual then
          settled = settled + 1
          out[settled], states[k] = ids[k], 'c'
          if keep then
            completed = completed + 2
            kept[completed - 1], kept[completed] = NOW_TEXT, ids[k]
            if records[k] then
              recorded = recorded + 2
              history[recorded - 1], history[recorded] = ids[k] .. suffix, NOW6 .. 'C' .. records[k]
            end
          else
            removed = removed + 1
            gone[removed] = ids[k]
          end
        elseif g and #g == GRANT_LEN and sub(g, 1, 12) == token then
          settled = settled + 1
          out[settled], states[k] = ids[k], '?'
          others[#others + 1] = k
        else
          stale = stale + 1
          states[k] = 's'
        end
      end
      from = to + 1
    end
  end
  -- Later mentions of an id that an earlier mention settles.
  local function named_twice()
    local mentioned, twice = {}, nil
    for k = 1, n do
      if states[k] ~= 's' then
        if mentioned[ids[k]] then
          twice = twice or {}
          twice[k] = true
        end
        mentioned[ids[k]] = true
      end
    end
    return twice
  end
  decide()
  local twice = #others > 0 and named_twice()
  if twice then decide(twice) end

  local retry_states, deleted, front, back, delayed, cut = {}, {}, {}, {}, {}, {}
  local dead, poisoned, cancelled = {}, {}, {}
  local completed, earliest, failed, released = #out - #others, math.huge, 0, 0
  if #others > 0 then
    local other_ids, before = {}, {}
    for k = 1, #others do other_ids[k] = ids[others[k]] end
    if retry_kept > 0 then before = call('HMGET', RETRY, unpack(other_ids)) end
    local group, to = 0, 0
    local op, attempt, suffix, delay_ms, charge, counted
    for k = 1, #others do
      local item, id, retry = others[k], other_ids[k], before[k]
      -- Creating strings is most of the cost here: those that the jobs of a group share are created once.
      while item > to do
        group = group + 1
        op, to = groups[group][1], groups[group][2]
        attempt, delay_ms = struct.unpack('>I4', op, 3), struct.unpack('>I6', op, 15)
        suffix, charge, counted = '\0' .. attempt, sub(op, 1, 1), {}
      end
      local verdict = charge
      if CHARGES_FAILURE[charge] then failed = failed + 1 elseif CHARGES_RELEASE[charge] then released = released + 1 end
      if byte(grants[item], GRANT_LEN) % 2 == CANCEL and CANCELLABLE[charge] then verdict = 'X' end
      if verdict == 'G' then
        completed = completed + 1
        deleted[#deleted + 1] = id
        states[item] = 'c'
      else
        if records[item] then
          local h = #history
          history[h + 1], history[h + 2] = id .. suffix, NOW6 .. verdict .. records[item]
        end
        evict_attempt(cut, id, attempt)
        local was = retry and #retry >= RETRY_LEN and sub(retry, 1, 16) or ''
        local counters = counted[was]
        if not counters then
          local _, failures, crashes, releases = counters_of(retry)
          if CHARGES_FAILURE[charge] then failures = failures + 1 elseif CHARGES_RELEASE[charge] then releases = releases + 1 end
          counters = pack('>I4I4I4I4', attempt, failures, crashes, releases)
          counted[was] = counters
        end
        if verdict == 'F' then
          local f = #front
          front[f + 1], front[f + 2] = id, counters
          states[item] = 'p'
        elseif delay_ms == 0 and (verdict == 'R' or verdict == 'L') then
          local f = #back
          back[f + 1], back[f + 2] = id, counters
          states[item] = 'p'
        else
          local list, score = nil, NOW_TEXT
          if verdict == 'C' then
            list, states[item] = kept, 'c'
            completed = completed + 1
          elseif verdict == 'D' or verdict == 'A' then
            list, states[item] = dead, 'd'
          elseif verdict == 'P' then
            list, states[item] = poisoned, 'o'
          elseif verdict == 'X' then
            list, states[item] = cancelled, 'x'
          else
            score = NOW + delay_ms
            if score < earliest then earliest = score end
            list, states[item] = delayed, 'y'
          end
          list[#list + 1] = score
          list[#list + 1] = id
          retry_states[#retry_states + 1] = id
          retry_states[#retry_states + 1] = counters .. NO_VERSION
        end
      end
    end
  end

  -- Checks the types of what will be written (lib/queue.lua); the first write itself checks lease.
  if #gone + #deleted > 0 then call('HLEN', JOB) end
  if #history + #cut + #deleted > 0 then histories_kept = call('HLEN', HISTORY) end
  if #kept > 0 then call('ZCARD', COMPLETED) end
  if #dead > 0 then call('ZCARD', DEAD) end
  if #poisoned > 0 then call('ZCARD', POISONED) end
  if #cancelled > 0 then call('ZCARD', CANCELLED) end
  if #delayed > 0 then call('ZCARD', DELAYED) end
  if #front + #back > 0 then call('LLEN', PENDING) end

  -- Deletions come first: a server that is out of memory refuses a script only at its first write, so jobs can still end.
  if #out > 0 then
    call('ZREM', LEASE, unpack(out))
    if call('HDEL', GRANT, unpack(out)) < #out and #others == 0 then
      decide(named_twice())
      completed = #out
    end
  end
  each('HDEL', JOB, gone)
  forget(deleted)
  each('HDEL', HISTORY, cut)
  put(HISTORY, histories_kept, history)
  each('ZADD', COMPLETED, kept)
  each('ZADD', DEAD, dead)
  each('ZADD', POISONED, poisoned)
  each('ZADD', CANCELLED, cancelled)
  push('LPUSH', front, retry_states)
  push('RPUSH', back, retry_states)
  put(RETRY, retry_kept, retry_states)
  if #retry_states > 0 then retry_kept = retry_kept + 1 end
  delay(delayed, earliest)
  count('completed', completed)
  count('failures', failed)
  count('releases', released)
  count('stale_settlements', stale)
  if AWAITED then
    for k = 1, n do
      if FINAL[states[k]] then note_ended(ids[k], states[k]) end
    end
    keep_outcomes(gone)
    keep_outcomes(deleted)
  end
  return table.concat(states)
end
