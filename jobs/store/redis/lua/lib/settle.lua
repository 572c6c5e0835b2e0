-- lib/settle.lua: settles jobs, which ends their attempts.
-- Jobs with the same verdict, attempt, nonce and delay travel in one group. A group is these elements of ARGV: its head, which is
-- verdict(1) recorded(1) attempt(4) nonce(8) delay ms(6); the number of ids; the ids; a record for each id if recorded is r, none if -.
--   verdict  C completed and kept, G completed and deleted, X cancelled, Q postponed by the delay: these count neither a failure nor a release;
--            R retry after the delay, D dead, P poisoned: these count a failure;
--            F release to the front of pending, L release after the delay, A rejected (dead without a failure): these count a release
local TOKEN_LEN, HOLDER_LEN = 12, 28 -- how a grant begins (lib/queue.lua): the token, which is attempt(4) nonce(8); after it the instance(16)
local FINAL = { c = true, d = true, o = true, x = true } -- states (lib/state.lua)
local COUNTS_FAILURE = { R = true, D = true, P = true }
local COUNTS_RELEASE = { F = true, L = true, A = true }
local CANCELLABLE = { R = true, F = true, L = true, Q = true } -- these become X when a cancellation was requested, but count as reported

-- For completed jobs that were deleted. If a client waits for one, notes in `awaited` that it completed (a member c id). This note stays
-- until the wait is over. watch_outcome.lua reads it, so that no client depends on a hint.
local function keep_outcomes(ids)
  if #ids == 0 then return end
  local waiting, completed, answered = {}, {}, {}
  for k = 1, #ids do waiting[k] = 'w' .. ids[k] end
  local waits_until = redis.pcall('ZMSCORE', AWAITED_JOBS, unpack(waiting))
  if waits_until.err then return end
  for k = 1, #ids do
    if waits_until[k] and tonumber(waits_until[k]) > NOW then
      completed[#completed + 1], completed[#completed + 2] = waits_until[k], 'c' .. ids[k]
      answered[#answered + 1] = waiting[k]
    end
  end
  if #completed == 0 then return end
  -- The ZADD comes first: a key that becomes empty is deleted, and a new key would have no expiry.
  redis.pcall('ZADD', AWAITED_JOBS, unpack(completed))
  redis.pcall('ZREM', AWAITED_JOBS, unpack(answered))
end

-- Whether this is a plain grant, which has no flags, of this token to the sender.
local function is_plain_grant(g, token)
  return g and #g == GRANT_LEN and byte(g, GRANT_LEN) == 0 and sub(g, 1, HOLDER_LEN) == token .. sub(REPLAY_SLOT, 1, 16)
end

-- Ends the attempts in the groups from ARGV[first] on. Returns one char per id: the state of the job now (lib/state.lua), or s for
-- stale: the job is not leased under this token any more, so nothing was changed.
local function settle(first)
  local ids, groups, records, n = {}, {}, {}, 0 -- ids and records of all groups, by index; a group is { head, its last index }
  local i = first
  while i < #ARGV do
    local head, size = ARGV[i], tonumber(ARGV[i + 1])
    for k = i + 2, i + 1 + size do
      n = n + 1
      ids[n] = ARGV[k]
    end
    groups[#groups + 1] = { head, n }
    i = i + 2 + size
    if byte(head, 2) == 114 then -- recorded: r
      for k = 0, size - 1 do records[n - size + 1 + k] = ARGV[i + k] end
      i = i + size
    end
  end
  if n == 0 then return '' end
  if not retry_kept then retry_kept = call('HLEN', RETRY) end
  local grants = call('HMGET', GRANT, unpack(ids))

  -- The common case: all jobs completed, are not kept, and have a grant without flags: no retry state, no requested cancellation.
  -- The jobs of a group come from one claim, so their grants are equal then. `simple` counts these jobs from the front of the batch.
  local simple = 0
  for group = 1, #groups do
    local head, last = groups[group][1], groups[group][2]
    local plain_grant = grants[simple + 1]
    if sub(head, 1, 1) ~= 'G' or not is_plain_grant(plain_grant, sub(head, 3, 14)) then break end
    while simple < last and grants[simple + 1] == plain_grant do simple = simple + 1 end
    if simple < last then break end
  end
  if simple == n then
    call('HLEN', JOB) -- type check (lib/queue.lua)
    call('ZREM', LEASE, unpack(ids))
    -- Fewer grants than ids: an id was named twice. The general case handles that, with the grants as they were read above.
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

  -- The general case. `decide` handles completed jobs whose grant has no flags, and collects the indexes of the other valid settlements
  -- in `others`, usually few. It counts the lengths of its other lists itself, because `#` of a growing table is a search.
  local states, settled_ids, unkept, others, history, completed, stale
  local function decide(repeated)
    states, settled_ids, unkept, others, history, completed, stale = {}, {}, {}, {}, {}, {}, 0
    local settled_len, unkept_len, completed_len, history_len, from = 0, 0, 0, 0, 1
    for group = 1, #groups do
      local head, last = groups[group][1], groups[group][2]
      local token, verdict = sub(head, 3, 14), sub(head, 1, 1)
      local keep = verdict == 'C'
      local completes, plain_grant = keep or verdict == 'G', nil -- the first plain grant of the group
      local suffix = '\0' .. struct.unpack('>I4', token)
      for k = from, last do
        local g = grants[k]
        if repeated and repeated[k] then g = false end
        if completes and not plain_grant and is_plain_grant(g, token) then plain_grant = g end
        if g and g == plain_grant then
          settled_len = settled_len + 1
          settled_ids[settled_len], states[k] = ids[k], 'c'
          if keep then
            completed_len = completed_len + 2
            completed[completed_len - 1], completed[completed_len] = NOW_TEXT, ids[k]
            if records[k] then
              history_len = history_len + 2
              history[history_len - 1], history[history_len] = ids[k] .. suffix, NOW6 .. 'C' .. records[k]
            end
          else
            unkept_len = unkept_len + 1
            unkept[unkept_len] = ids[k]
          end
        elseif g and #g == GRANT_LEN and sub(g, 1, TOKEN_LEN) == token then
          settled_len = settled_len + 1
          settled_ids[settled_len], states[k] = ids[k], '?' -- set in the loop over `others`
          others[#others + 1] = k
        else
          stale = stale + 1
          states[k] = 's'
        end
      end
      from = last + 1
    end
  end
  -- Only an id's first valid settlement counts. Returns the set of the indexes of its later ones, or nil if there is none.
  local function repeated_ids()
    local mentioned, repeated = {}, nil
    for k = 1, n do
      if states[k] ~= 's' then
        if mentioned[ids[k]] then
          repeated = repeated or {}
          repeated[k] = true
        end
        mentioned[ids[k]] = true
      end
    end
    return repeated
  end
  decide()
  local repeated = #others > 0 and repeated_ids()
  if repeated then decide(repeated) end

  -- What to write. `front` and `back` are id, counters pairs for lib/push.lua; the lists for sorted sets are score, id pairs.
  local retry_states, other_unkept, front, back, delayed, evicted = {}, {}, {}, {}, {}, {}
  local dead, poisoned, cancelled = {}, {}, {}
  local completions, earliest, failures_counted, releases_counted = #settled_ids - #others, math.huge, 0, 0
  if #others > 0 then
    local other_ids, old_retry_states = {}, {}
    for k = 1, #others do other_ids[k] = ids[others[k]] end
    if retry_kept > 0 then old_retry_states = call('HMGET', RETRY, unpack(other_ids)) end
    local group, last = 0, 0
    local head, attempt, suffix, delay_ms, reported
    local counters_after -- the new counters by the old ones, for the jobs of a group
    for k = 1, #others do
      local index, id, retry = others[k], other_ids[k], old_retry_states[k]
      -- Creating strings is most of the cost here, so those that the jobs of a group share are created once per group.
      while index > last do
        group = group + 1
        head, last = groups[group][1], groups[group][2]
        attempt, delay_ms = struct.unpack('>I4', head, 3), struct.unpack('>I6', head, 15)
        suffix, reported, counters_after = '\0' .. attempt, sub(head, 1, 1), {}
      end
      -- The reported verdict decides what is counted. `verdict`, the effective one, decides where the job goes.
      local verdict = reported
      if COUNTS_FAILURE[reported] then
        failures_counted = failures_counted + 1
      elseif COUNTS_RELEASE[reported] then
        releases_counted = releases_counted + 1
      end
      -- CANCEL is the lowest bit of the flags.
      if byte(grants[index], GRANT_LEN) % 2 == CANCEL and CANCELLABLE[reported] then verdict = 'X' end
      if verdict == 'G' then
        completions = completions + 1
        other_unkept[#other_unkept + 1] = id
        states[index] = 'c'
      else
        if records[index] then
          local h = #history
          history[h + 1], history[h + 2] = id .. suffix, NOW6 .. verdict .. records[index]
        elseif verdict == 'Q' then
          local h = #history
          history[h + 1], history[h + 2] = id .. suffix, NOW6 .. 'Q' .. sub(grants[index], TOKEN_LEN + 1, HOLDER_LEN) .. pack('>I6', NOW + delay_ms)
        end
        evict_attempt(evicted, id, attempt)
        local counters_before = retry and #retry >= RETRY_LEN and sub(retry, 1, 16) or ''
        local counters = counters_after[counters_before]
        if not counters then
          local _, failures, crashes, releases = counters_of(retry)
          if COUNTS_FAILURE[reported] then failures = failures + 1 elseif COUNTS_RELEASE[reported] then releases = releases + 1 end
          counters = pack('>I4I4I4I4', attempt, failures, crashes, releases)
          counters_after[counters_before] = counters
        end
        if verdict == 'F' then
          local f = #front
          front[f + 1], front[f + 2] = id, counters
          states[index] = 'p'
        elseif delay_ms == 0 and (verdict == 'R' or verdict == 'L' or verdict == 'Q') then
          local f = #back
          back[f + 1], back[f + 2] = id, counters
          states[index] = 'p'
        else
          local members, score = nil, NOW_TEXT
          if verdict == 'C' then
            members, states[index] = completed, 'c'
            completions = completions + 1
          elseif verdict == 'D' or verdict == 'A' then
            members, states[index] = dead, 'd'
          elseif verdict == 'P' then
            members, states[index] = poisoned, 'o'
          elseif verdict == 'X' then
            members, states[index] = cancelled, 'x'
          else
            score = NOW + delay_ms
            if score < earliest then earliest = score end
            members, states[index] = delayed, 'y'
          end
          members[#members + 1] = score
          members[#members + 1] = id
          retry_states[#retry_states + 1] = id
          retry_states[#retry_states + 1] = counters .. NO_VERSION
        end
      end
    end
  end

  -- Type checks before the first write (lib/queue.lua). `lease` needs none: it is the first key written.
  if #unkept + #other_unkept + #completed + #dead + #poisoned + #cancelled > 0 then call('HLEN', JOB) end
  if #history + #evicted + #other_unkept > 0 then histories_kept = call('HLEN', HISTORY) end
  if #completed > 0 then call('ZCARD', COMPLETED) end
  if #dead > 0 then call('ZCARD', DEAD) end
  if #poisoned > 0 then call('ZCARD', POISONED) end
  if #cancelled > 0 then call('ZCARD', CANCELLED) end
  if #delayed > 0 then call('ZCARD', DELAYED) end
  if #front + #back > 0 then call('LLEN', PENDING) end

  -- Deletions come first, so that jobs can end on a server that is out of memory: once a script has written, the server lets it use
  -- commands that may need memory.
  if #settled_ids > 0 then
    call('ZREM', LEASE, unpack(settled_ids))
    -- Fewer grants than ids: an id was named twice. That is not looked for in advance when `others` is empty.
    if call('HDEL', GRANT, unpack(settled_ids)) < #settled_ids and #others == 0 then
      decide(repeated_ids())
      completions = #settled_ids
    end
  end
  call_in_chunks('HDEL', JOB, unkept)
  delete_jobs(other_unkept)
  call_in_chunks('HDEL', HISTORY, evicted)
  put(HISTORY, histories_kept, history)
  add_ended(COMPLETED, completed)
  add_ended(DEAD, dead)
  add_ended(POISONED, poisoned)
  add_ended(CANCELLED, cancelled)
  push('LPUSH', front, retry_states)
  push('RPUSH', back, retry_states)
  put(RETRY, retry_kept, retry_states)
  -- A claim in the same script must know that there are retry states now, beside the sentinel, which `put` wrote if there was none.
  if #retry_states > 0 then retry_kept = math.max(1, retry_kept) + #retry_states / 2 end
  add_delayed(delayed, earliest)
  count('completed', completions)
  count('failures', failures_counted)
  count('releases', releases_counted)
  count('stale_settlements', stale)
  if AWAITED then
    for k = 1, n do
      if FINAL[states[k]] then note_ended(ids[k], states[k]) end
    end
    keep_outcomes(unkept)
    keep_outcomes(other_unkept)
  end
  return table.concat(states)
end
