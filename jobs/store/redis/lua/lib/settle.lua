-- lib/settle.lua: how attempts end.
-- A group in ARGV is: verdict(1) recorded(1: r each id has a record, - none) attempt(4) nonce(8) delay ms(6),
-- n, n ids, n records or none. Jobs of one claim that end alike are one group.
--   verdict  C completed and kept, G completed and gone, X cancelled;
--            R retry after the delay, D dead, P poisoned: these charge a failure;
--            F release to the front of pending, L release after the delay, A given up as dead: these charge a release
local FAILURE = { R = true, D = true, P = true }
local RELEASE = { F = true, L = true, A = true }
local MAY_CANCEL = { R = true, F = true, L = true } -- what becomes X when somebody called the job off meanwhile

-- Ends the attempts in the groups from ARGV[first] on. Gives one char an id: the state the job has now (lib/state.lua),
-- or s: stale, the lease is another's or nobody's, and nothing was changed.
local function settle(first)
  local ids, at, records, n = {}, {}, {}, 0
  local i = first
  while i < #ARGV do
    local op, many = ARGV[i], tonumber(ARGV[i + 1])
    for k = i + 2, i + 1 + many do
      n = n + 1
      ids[n] = ARGV[k]
    end
    at[#at + 1] = { op, n }
    i = i + 2 + many
    if byte(op, 2) == 114 then
      for k = 0, many - 1 do records[n - many + 1 + k] = ARGV[i + k] end
      i = i + many
    end
  end
  if n == 0 then return '' end
  if not pasts_kept then pasts_kept = call('HLEN', PAST) end
  local grants = call('HMGET', GRANT, unpack(ids))

  -- The usual call: first attempts that completed and are not kept.
  local plain = 0
  for group = 1, #at do
    local op, to = at[group][1], at[group][2]
    if sub(op, 1, 1) ~= 'G' then break end
    local usual = sub(op, 3, 14) .. sub(REPLAY_SLOT, 1, 16) .. '\0'
    while plain < to and grants[plain + 1] == usual do plain = plain + 1 end
    if plain < to then break end
  end
  if plain == n then
    call('HLEN', JOB)
    call('ZREM', LEASE, unpack(ids))
    -- An id named twice is left to the long way, which finds what there is to find.
    if call('HDEL', GRANT, unpack(ids)) == n then
      call('HDEL', JOB, unpack(ids))
      count('completed', n)
      return string.rep('c', n)
    end
  end

  -- What to do is decided before anything is done. A first attempt that completed is the usual thing and needs little.
  -- The lists are filled by counters of their own: `#` of a growing table is a search.
  local states, out, gone, others, history, kept, stale
  local function decide(twice)
    states, out, gone, others, history, kept, stale = {}, {}, {}, {}, {}, {}, 0
    local settled, removed, completed, told, from = 0, 0, 0, 0, 1
    for group = 1, #at do
      local op, to = at[group][1], at[group][2]
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
              told = told + 2
              history[told - 1], history[told] = ids[k] .. suffix, NOW6 .. 'C' .. records[k]
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
  -- Later mentions of an id that an earlier one settles.
  local function named_twice()
    local met, twice = {}, nil
    for k = 1, n do
      if states[k] ~= 's' then
        if met[ids[k]] then
          twice = twice or {}
          twice[k] = true
        end
        met[ids[k]] = true
      end
    end
    return twice
  end
  decide()
  local twice = #others > 0 and named_twice()
  if twice then decide(twice) end

  local pasts, deleted, front, back, delayed, cut = {}, {}, {}, {}, {}, {}
  local dead, poisoned, cancelled = {}, {}, {}
  local completed, earliest, failed, released = #out - #others, math.huge, 0, 0
  if #others > 0 then
    local asked, before = {}, {}
    for k = 1, #others do asked[k] = ids[others[k]] end
    if pasts_kept > 0 then before = call('HMGET', PAST, unpack(asked)) end
    local group, to = 0, 0
    local op, attempt, suffix, delay_ms, charge, counted
    for k = 1, #others do
      local item, id, p = others[k], asked[k], before[k]
      -- Making strings is most of what this costs: those that the jobs of a group share are made once.
      while item > to do
        group = group + 1
        op, to = at[group][1], at[group][2]
        attempt, delay_ms = struct.unpack('>I4', op, 3), struct.unpack('>I6', op, 15)
        suffix, charge, counted = '\0' .. attempt, sub(op, 1, 1), {}
      end
      local verdict = charge
      if FAILURE[charge] then failed = failed + 1 elseif RELEASE[charge] then released = released + 1 end
      if byte(grants[item], GRANT_LEN) % 2 == CANCEL and MAY_CANCEL[charge] then verdict = 'X' end
      if verdict == 'G' then
        completed = completed + 1
        deleted[#deleted + 1] = id
        states[item] = 'c'
      else
        if records[item] then
          local h = #history
          history[h + 1], history[h + 2] = id .. suffix, NOW6 .. verdict .. records[item]
        end
        crowd_out(cut, id, attempt)
        local was = p and #p >= PAST_LEN and sub(p, 1, 16) or ''
        local counters = counted[was]
        if not counters then
          local _, failures, crashes, releases = counters_of(p)
          if FAILURE[charge] then failures = failures + 1 elseif RELEASE[charge] then releases = releases + 1 end
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
          pasts[#pasts + 1] = id
          pasts[#pasts + 1] = counters .. NO_VERSION
        end
      end
    end
  end

  -- Meets what will be written (lib/queue.lua); lease is met by the first write itself.
  if #gone + #deleted > 0 then call('HLEN', JOB) end
  if #history + #cut + #deleted > 0 then histories_kept = call('HLEN', HISTORY) end
  if #kept > 0 then call('ZCARD', COMPLETED) end
  if #dead > 0 then call('ZCARD', DEAD) end
  if #poisoned > 0 then call('ZCARD', POISONED) end
  if #cancelled > 0 then call('ZCARD', CANCELLED) end
  if #delayed > 0 then call('ZCARD', DELAYED) end
  if #front + #back > 0 then call('LLEN', PENDING) end

  -- Deletions stand first: Redis refuses a script only at its first write, so that even a full server lets jobs end.
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
  push('LPUSH', front, pasts)
  push('RPUSH', back, pasts)
  put(PAST, pasts_kept, pasts)
  if #pasts > 0 then pasts_kept = pasts_kept + 1 end
  delay(delayed, earliest)
  count('completed', completed)
  count('failures', failed)
  count('releases', released)
  count('stale_settlements', stale)
  return table.concat(states)
end
