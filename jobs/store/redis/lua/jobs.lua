-- jobs.lua: one page of the jobs in one state.
-- Guarantee: reads only; pending from the front, delayed by due time, processing by expiry, final states latest first.
-- KEYS    see lib/queue.lua
-- ARGV    1 state (lib/state.lua), 2 cursor or '' (pending: a number; others: a score, a blank, an id in hex), 3 jobs at most
-- Reply   {'ok', next cursor or '', jobs}; a job: {id, body, at or '', attempts, failures, crashes, releases,
--         lib/read.lua's latest_attempts}
local PAGE_BYTES = 2 * 1024 * 1024 -- a page ends here, whatever its number of jobs
local READ_BYTES = 128 * 1024      -- jobs read at once, by the size of earlier ones, so that large jobs are not read for nothing
local READ_MAX = 100
local SCANNED_MAX = 1000           -- entries of pending one call scans; the page ends there
local state, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local jobs, bytes, step = {}, 0, 4

-- The last attempt that may be an error. A completed job's last attempt is none, but may hold a large output, and so is not read.
local function last_failed(attempts)
  if state == 'c' or state == 'l' then return attempts - 1 end
  return attempts
end

-- The latest attempts of the jobs whose latest attempt certainly is an error, which are most dead ones: all at once.
local function latest_errors(ids, retry_states, first, last)
  local fields, of, errors = {}, {}, {}
  for k = first, last do
    local attempts = last_failed((counters_of(retry_states[k - first + 1])))
    if attempts > 0 and state ~= 'l' then
      fields[#fields + 1] = ids[k] .. '\0' .. attempts
      of[#of + 1] = { k, attempts }
    end
  end
  if #fields == 0 then return errors end
  local values = call('HMGET', HISTORY, unpack(fields))
  for n = 1, #fields do
    local value = values[n]
    if value and ERROR[sub(value, 7, 7)] then errors[of[n][1]] = { tostring(of[n][2]), value } end
  end
  return errors
end

-- Adds these jobs until the page is full; `entries` is set for pending. Returns the index of the first one not added.
local function add(ids, scores, entries)
  local first = 1
  while first <= #ids do
    local last = math.min(first + step - 1, #ids)
    local bodies, retry_states = call('HMGET', JOB, unpack(ids, first, last)), call('HMGET', RETRY, unpack(ids, first, last))
    local errors, read = latest_errors(ids, retry_states, first, last), 0
    for k = first, last do
      if #jobs >= limit or bytes >= PAGE_BYTES then return k end
      local id, body, retry = ids[k], bodies[k - first + 1], retry_states[k - first + 1]
      read = read + #(body or '')
      if body and (not entries or is_live(entries[k], body, retry)) then
        if entries and retry and #retry < RETRY_LEN then retry = nil end
        local attempts, failures, crashes, releases = counters_now(id, state, retry)
        local errors, size = errors[k], 0
        if errors then
          size = #errors[2]
        elseif last_failed(attempts) > 0 or state == 'o' then
          errors, size = latest_attempts(id, last_failed(attempts))
        end
        read = read + size
        jobs[#jobs + 1] = { id, body, scores and scores[k] or '', attempts, failures, crashes, releases, errors or {} }
        bytes = bytes + #body + size
      end
    end
    step = math.max(1, math.min(READ_MAX, math.floor(READ_BYTES * (last - first + 1) / math.max(1, read))))
    first = last + 1
  end
  return first
end

if state == 'p' then
  local at, scanned = tonumber(from) or 0, 0
  while true do
    local entries, ids = call('LRANGE', PENDING, at, at + 99), {}
    if #entries == 0 then return { 'ok', '', jobs } end
    for i = 1, #entries do ids[i] = sub(entries[i], 7) end
    local added = add(ids, nil, entries) - 1
    at = at + added
    scanned = scanned + added
    if added < #entries or scanned >= SCANNED_MAX then return { 'ok', tostring(at), jobs } end
  end
end

-- A cursor is the score and the id of the last job of the page before. Redis orders by score, then by bytes; when that job
-- has moved, its former rank is found by binary search.
local KEY = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
local latest_first = state ~= 'l' and state ~= 'y'
local RANK, RANGE = 'ZRANK', 'ZRANGE'
if latest_first then RANK, RANGE = 'ZREVRANK', 'ZREVRANGE' end

local function place_after(score, id)
  -- A lease that was renewed meanwhile is further back, behind others that were not listed yet.
  if call('ZSCORE', KEY, id) == score then return call(RANK, KEY, id) + 1 end
  local low = latest_first and call('ZCOUNT', KEY, '(' .. score, '+inf') or call('ZCOUNT', KEY, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', KEY, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local there = call(RANGE, KEY, middle, middle)[1]
    local before = latest_first and is_below(id, there) or not latest_first and is_below(there, id)
    if before then low = middle + 1 else high = middle end
  end
  return low
end

local at = 0
if from ~= '' then
  local score, hex = string.match(from, '^(%d+) (%x+)$')
  at = place_after(score, (hex:gsub('%x%x', function(pair) return string.char(tonumber(pair, 16)) end)))
end
local found = call(RANGE, KEY, at, at + limit, 'WITHSCORES')
local function cursor_at(i)
  return found[i + 1] .. ' ' .. found[i]:gsub('.', function(c) return string.format('%02x', byte(c)) end)
end
-- The encoding sentinel of `lease` sorts after all jobs.
if found[#found - 1] == ENCODING_SENTINEL then found[#found], found[#found - 1] = nil, nil end
local ids, scores = {}, {}
for i = 1, #found, 2 do ids[#ids + 1], scores[#scores + 1] = found[i], found[i + 1] end
local next_one = add(ids, scores)
if next_one <= #ids then return { 'ok', cursor_at(2 * next_one - 3), jobs } end
return { 'ok', #found > 2 * limit and cursor_at(#found - 1) or '', jobs }
