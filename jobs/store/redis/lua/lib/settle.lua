-- lib/settle.lua: how attempts end.
-- A group in ARGV is: verdict(1) charge(1) record(1: r each id has one, - none) attempt(4) nonce(8) delay ms(6),
-- n, n ids, n records or none. Jobs of one claim that end alike are one group.
--   verdict  C completed, R retry after the delay, D dead, P poisoned, F release to the front of pending,
--            L release after the delay, X cancelled
--   charge   f a failure, r a release, - nothing
local COUNTER = { C = 'completed', R = 'retried', D = 'dead', P = 'poisoned', F = 'released', L = 'released', X = 'cancelled' }
local MAY_CANCEL = { R = true, F = true, L = true }

-- Ends the attempts in the groups from ARGV[first] on, and keeps at most `keep` completed jobs. Gives one char an id:
-- o settled, x settled as cancelled, s stale: the lease is another's or nobody's, and nothing was changed.
local function settle(first, keep)
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
    if byte(op, 3) == 114 then
      for k = 0, many - 1 do records[n - many + 1 + k] = ARGV[i + k] end
      i = i + many
    end
  end
  if n == 0 then return '' end
  local grants = call('HMGET', GRANT, unpack(ids))

  -- What to do is decided before anything is done. A first attempt that completed is the usual thing and needs little.
  local statuses, out, done, others = {}, {}, {}, {}
  local history, kept = {}, {}
  local settled, plain, stale, from = 0, 0, 0, 1
  for group = 1, #at do
    local op, to = at[group][1], at[group][2]
    local token = sub(op, 4, 15)
    local usual = byte(op, 1) == 67 and token .. sub(LANE, 1, 16) .. '\0'
    local suffix = '\0' .. struct.unpack('>I4', token)
    for k = from, to do
      local g = grants[k]
      if g == usual then
        settled = settled + 1
        plain = plain + 1
        out[settled], done[plain], statuses[k] = ids[k], ids[k], 'o'
        if keep > 0 then
          kept[2 * plain - 1], kept[2 * plain] = NOW_TEXT, ids[k]
          history[2 * plain - 1], history[2 * plain] = ids[k] .. suffix, NOW6 .. 'C' .. (records[k] or '')
        end
      elseif g and #g == GRANT_LEN and sub(g, 1, 12) == token then
        settled = settled + 1
        out[settled], statuses[k] = ids[k], 'o'
        others[#others + 1] = { k, op }
      else
        stale = stale + 1
        statuses[k] = 's'
      end
    end
    from = to + 1
  end

  local pasts, deleted, front, back, delayed, cut = {}, {}, {}, {}, {}, {}
  local ended = { D = {}, P = {}, X = {} }
  local counted, earliest, failed = { C = plain }, math.huge, 0
  if #others > 0 then
    local seen, asked, before = {}, {}, {}
    for k = 1, plain do seen[done[k]] = true end
    for k = 1, #others do asked[k] = ids[others[k][1]] end
    if pasts_kept > 0 then before = call('HMGET', PAST, unpack(asked)) end
    for k = 1, #others do
      local item, op = others[k][1], others[k][2]
      local id, g, p = ids[item], grants[item], before[k]
      if seen[id] then
        -- Named twice in one call: the first wins.
        stale = stale + 1
        statuses[item] = 's'
      else
        seen[id] = true
        local verdict, charge = sub(op, 1, 1), sub(op, 2, 2)
        local attempt, delay_ms = struct.unpack('>I4', g), struct.unpack('>I6', op, 16)
        if byte(g, GRANT_LEN) % 2 == CANCEL and MAY_CANCEL[verdict] then verdict, statuses[item] = 'X', 'x' end
        local _, failures, crashes, releases = 0, 0, 0, 0
        if p and #p >= PAST_LEN then _, failures, crashes, releases = struct.unpack('>I4I4I4I4', p) end
        if charge == 'f' then
          failures = failures + 1
          failed = failed + 1
        elseif charge == 'r' then
          releases = releases + 1
        end
        counted[verdict] = (counted[verdict] or 0) + 1

        if verdict == 'C' and keep == 0 then
          deleted[#deleted + 1] = id
        else
          if records[item] then
            history[#history + 1] = id .. '\0' .. attempt
            history[#history + 1] = NOW6 .. verdict .. records[item]
          end
          -- The first attempts and the last ones are kept; those between are a count.
          local old = attempt - HISTORY_LAST
          if old > HISTORY_FIRST then cut[#cut + 1] = id .. '\0' .. old end
          local counters = pack('>I4I4I4I4', attempt, failures, crashes, releases)
          local list = verdict == 'C' and kept or ended[verdict]
          if list then
            list[#list + 1] = NOW_TEXT
            list[#list + 1] = id
          elseif verdict == 'F' then
            front[#front + 1] = { id, counters }
          elseif delay_ms == 0 then
            back[#back + 1] = { id, counters }
          else
            local due = NOW + delay_ms
            if due < earliest then earliest = due end
            delayed[#delayed + 1] = due
            delayed[#delayed + 1] = id
            list = delayed
          end
          if list then
            pasts[#pasts + 1] = id
            pasts[#pasts + 1] = counters .. NO_TICKET
          end
        end
      end
    end
  end

  -- Deletions stand first: Redis refuses a script only at its first write, so that even a full server lets jobs end.
  if settled > 0 then
    call('ZREM', LEASE, unpack(out))
    counted.C = counted.C + call('HDEL', GRANT, unpack(out)) - settled
  end
  if keep == 0 and plain > 0 then call('HDEL', JOB, unpack(done)) end
  forget(deleted)
  each('HDEL', HISTORY, cut)
  put(HISTORY, histories_kept, history)
  each('ZADD', COMPLETED, kept)
  each('ZADD', DEAD, ended.D)
  each('ZADD', POISONED, ended.P)
  each('ZADD', CANCELLED, ended.X)
  push('LPUSH', front, pasts)
  push('RPUSH', back, pasts)
  put(PAST, pasts_kept, pasts)
  if #pasts > 0 then pasts_kept = pasts_kept + 1 end
  delay(delayed, earliest)
  for verdict, times in pairs(counted) do count(COUNTER[verdict], times) end
  count('failed', failed)
  count('stale_settles', stale)

  -- The bound on kept jobs holds at every instant: who adds one takes away two, while there are too many.
  local over = math.min(completed_kept + #kept / 2 - keep, #kept)
  if keep > 0 and over > 0 then
    local oldest, trimmed = call('ZPOPMIN', COMPLETED, over), {}
    for k = 1, #oldest, 2 do trimmed[#trimmed + 1] = oldest[k] end
    forget(trimmed)
    count('trimmed', #trimmed)
  end
  return table.concat(statuses)
end
