-- lib/settle.lua: how attempts end.
local STATE_OF = { C = 'completed', R = 'retried', D = 'dead', P = 'poisoned', F = 'released', L = 'released', X = 'cancelled' }

-- Ends the attempts named in ARGV from `first` on, and gives one char each: o settled, x settled as cancelled,
-- s stale: the lease is somebody else's or nobody's, and nothing was changed.
local function settle(first, keep)
  local ids, n = {}, 0
  for i = first, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
  if n == 0 then return '' end
  local grants = call('HMGET', GRANT, unpack(ids))

  -- What to do is decided before anything is done.
  local statuses, out, seen, stale = {}, {}, {}, 0
  local done, kept, history, unwritten = {}, {}, {}, {}
  local plain, others = 0, nil
  for i = 1, n do
    local id, op, g = ids[i], ARGV[first + 2 * i - 1], grants[i]
    if g and #g == GRANT_LEN and sub(g, 1, 12) == sub(op, 3, 14) and not seen[id] then
      seen[id] = true
      out[#out + 1] = id
      if byte(op, 1) == 67 and byte(g, GRANT_LEN) < HAS_PAST then
        statuses[i] = 'o'
        plain = plain + 1
        done[plain] = id
        if keep > 0 then
          kept[2 * plain - 1], kept[2 * plain] = NOW, id
          history[2 * plain - 1] = id .. '\0' .. struct.unpack('>I4', g)
          history[2 * plain] = NOW6 .. 'C' .. sub(op, 21)
        end
      else
        others = others or {}
        others[#others + 1] = i
      end
    else
      statuses[i] = 's'
      stale = stale + 1
    end
  end

  local pasts, deleted, front, back, delayed = {}, {}, {}, {}, {}
  local ended = { D = {}, P = {}, X = {} }
  local counted, earliest, failed = {}, math.huge, 0
  if others then
    local before = {}
    if pasts_kept > 0 then
      local asked = {}
      for k = 1, #others do asked[k] = ids[others[k]] end
      before = call('HMGET', PAST, unpack(asked))
    end
    for k = 1, #others do
      local i = others[k]
      local id, op, g, p = ids[i], ARGV[first + 2 * i - 1], grants[i], before[k]
      local verdict, charge = sub(op, 1, 1), sub(op, 2, 2)
      local attempt = struct.unpack('>I4', g)
      statuses[i] = 'o'
      if byte(g, GRANT_LEN) % 2 == CANCEL and (verdict == 'R' or verdict == 'F' or verdict == 'L') then
        verdict, statuses[i] = 'X', 'x'
      end
      local failures, crashes, releases = 0, 0, 0
      if p and #p >= PAST_LEN then
        local _
        _, failures, crashes, releases = struct.unpack('>I4I4I4I4', p)
      end
      if charge == 'f' then failures = failures + 1; failed = failed + 1 elseif charge == 'r' then releases = releases + 1 end
      counted[verdict] = (counted[verdict] or 0) + 1
      local ticket = NO_TICKET
      if verdict == 'C' and keep == 0 then
        deleted[#deleted + 1] = id
      else
        if #op > 20 then
          history[#history + 1] = id .. '\0' .. attempt
          history[#history + 1] = NOW6 .. verdict .. sub(op, 21)
        end
        -- The first attempts and the last ones are kept; those between are a count.
        local old = attempt - HISTORY_LAST
        if old > HISTORY_FIRST then unwritten[#unwritten + 1] = id .. '\0' .. old end
        local delay_ms = struct.unpack('>I6', op, 15)
        if verdict == 'C' then
          kept[#kept + 1] = NOW
          kept[#kept + 1] = id
        elseif ended[verdict] then
          local list = ended[verdict]
          list[#list + 1] = NOW
          list[#list + 1] = id
        elseif verdict == 'F' then
          ticket = nil
          front[#front + 1] = id
        elseif delay_ms == 0 then
          ticket = nil
          back[#back + 1] = id
        else
          local due = NOW + delay_ms
          if due < earliest then earliest = due end
          delayed[#delayed + 1] = due
          delayed[#delayed + 1] = id
        end
        pasts[#pasts + 1] = id
        pasts[#pasts + 1] = ticket and past_of(attempt, failures, crashes, releases, ticket)
          or { attempt, failures, crashes, releases }
      end
    end
  end

  -- Deletions stand first: Redis refuses a script only at its first write, so a full server still lets jobs end.
  if #out > 0 then
    call('ZREM', LEASE, unpack(out))
    call('HDEL', GRANT, unpack(out))
  end
  if keep == 0 and plain > 0 then call('HDEL', JOB, unpack(done)) end
  forget(deleted)
  each('HDEL', HISTORY, unwritten)
  each('HSET', HISTORY, history)
  each('ZADD', COMPLETED, kept)
  each('ZADD', DEAD, ended.D)
  each('ZADD', POISONED, ended.P)
  each('ZADD', CANCELLED, ended.X)
  if #front + #back > 0 then
    local base, ticket_of = draw(#front + #back), {}
    for k = 1, #front do
      local ticket = pack('>I6', base + k)
      ticket_of[front[k]] = ticket
      front[k] = ticket .. front[k]
    end
    for k = 1, #back do
      local ticket = pack('>I6', base + #front + k)
      ticket_of[back[k]] = ticket
      back[k] = ticket .. back[k]
    end
    for k = 2, #pasts, 2 do
      local p = pasts[k]
      if type(p) == 'table' then pasts[k] = past_of(p[1], p[2], p[3], p[4], ticket_of[pasts[k - 1]]) end
    end
    local reversed, m = {}, #front
    for k = 1, m do reversed[k] = front[m + 1 - k] end
    each('LPUSH', PENDING, reversed)
    each('RPUSH', PENDING, back)
    wake_claimers()
  end
  each('HSET', PAST, pasts)
  delay(delayed, earliest)
  counted.C = (counted.C or 0) + plain
  for verdict, times in pairs(counted) do count(STATE_OF[verdict], times) end
  count('failed', failed)
  count('stale_settles', stale)

  -- The bound on kept jobs holds at every instant: who adds, takes away, at most two for one.
  local over = math.min(completed_kept + #kept / 2 - keep, #kept)
  if keep > 0 and over > 0 then
    local oldest, first_ids = call('ZPOPMIN', COMPLETED, over), {}
    for k = 1, #oldest, 2 do first_ids[#first_ids + 1] = oldest[k] end
    if #pasts > 0 then pasts_kept = pasts_kept + 1 end
    for k = 1, #first_ids, 500 do
      local slice = {}
      for m = k, math.min(k + 499, #first_ids) do slice[#slice + 1] = first_ids[m] end
      forget(slice)
    end
    count('trimmed', #first_ids)
  end
  return table.concat(statuses)
end
