-- jobs.lua: one page of the jobs in one state.
-- Guarantee: reads only. Order: pending from the front, delayed by due time, processing by lease expiry, final states latest first.
-- KEYS    see lib/queue.lua
-- ARGV    1 state (lib/state.lua), 2 cursor or '' (pending: a position; others: a score, a blank, an id in hex), 3 jobs at most
-- Reply   {'ok', next cursor or '', jobs}; a job is {id, body, score in its sorted set or '', attempts, failures,
--         crashes, releases, latest attempts (latest_attempts in lib/read.lua), the grant (lib/queue.lua) of a processing job or '',
--         the progress (lib/history.lua) of a processing job or ''}
local PAGE_BYTES = 2 * 1024 * 1024 -- a page ends once its jobs have this many bytes
local READ_BYTES = 128 * 1024      -- about how many bytes are read at once, so that few jobs behind the end of the page are read
local READ_MAX = 100               -- most jobs read at once
local PENDING_SCANNED_MAX = 1000   -- a page of pending ends after this many entries, live or stale
local state, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local jobs, bytes, bytes_read, jobs_per_read = {}, 0, 0, 4 -- jobs_per_read is adapted to the size of the jobs read before

-- The number of the last attempt that may hold an error. The running attempt of a processing job has not ended. The last attempt of a
-- completed job holds no error and is not read, because it may hold a large output.
local function last_possible_error(attempts)
  if state == 'c' or state == 'l' then return attempts - 1 end
  return attempts
end

-- Reads the latest attempts of all these jobs at once. Returns, by index, those that certainly hold an error: for most dead jobs no
-- further read is needed.
local function latest_errors(ids, retry_states, first, last)
  local fields, attempt_of_field, errors = {}, {}, {}
  for k = first, last do
    local attempts = last_possible_error((counters_of(retry_states[k - first + 1])))
    if attempts > 0 and state ~= 'l' then
      fields[#fields + 1] = ids[k] .. '\0' .. attempts
      attempt_of_field[#attempt_of_field + 1] = { k, attempts }
    end
  end
  if #fields == 0 then return errors end
  local values = call('HMGET', HISTORY, unpack(fields))
  for n = 1, #fields do
    local value = values[n]
    if value and ERROR[sub(value, 7, 7)] then errors[attempt_of_field[n][1]] = { tostring(attempt_of_field[n][2]), value } end
  end
  return errors
end

-- The grants and the progress of these jobs, by position from `first` on, if they are processing.
local function running_attempts(ids, first, last)
  if state ~= 'l' then return {}, {} end
  local fields = {}
  for k = first, last do fields[#fields + 1] = ids[k] .. '\0p' end
  return call('HMGET', GRANT, unpack(ids, first, last)), call('HMGET', HISTORY, unpack(fields))
end

-- Adds these jobs to the page until it is full or enough was read, and skips stale entries. `entries` is given for pending, `scores` for the others.
-- Returns the index of the first job that was not reached.
local function add(ids, scores, entries)
  local first = 1
  while first <= #ids do
    local last = last_readable(ids, first, math.min(first + jobs_per_read - 1, #ids), bytes_read)
    if last < first then return first end
    local bodies, retry_states = call('HMGET', JOB, unpack(ids, first, last)), call('HMGET', RETRY, unpack(ids, first, last))
    local errors, read = latest_errors(ids, retry_states, first, last), 0
    local grants, progress = running_attempts(ids, first, last)
    for k = first, last do
      if #jobs >= limit or bytes >= PAGE_BYTES then return k end
      local id, body, retry = ids[k], bodies[k - first + 1], retry_states[k - first + 1]
      read = read + #(body or '')
      bytes_read = bytes_read + #(body or '')
      if body and (not entries or is_live(entries[k], body, retry)) then
        if entries and retry and #retry < RETRY_LEN then retry = nil end
        local attempts, failures, crashes, releases = counters_now(state, retry, grants[k - first + 1])
        local latest, size = errors[k], 0
        if latest then
          size = #latest[2]
        elseif last_possible_error(attempts) > 0 or state == 'o' then
          latest, size = latest_attempts(id, last_possible_error(attempts))
        end
        local grant, reported = grants[k - first + 1] or '', progress[k - first + 1] or ''
        size = size + #grant + #reported
        read = read + size
        jobs[#jobs + 1] = { id, body, scores and scores[k] or '', attempts, failures, crashes, releases, latest or {}, grant, reported }
        bytes = bytes + #body + size
      end
    end
    jobs_per_read = math.max(1, math.min(READ_MAX, math.floor(READ_BYTES * (last - first + 1) / math.max(1, read))))
    first = last + 1
  end
  return first
end

if state == 'p' then
  local position, scanned = tonumber(from) or 0, 0
  while true do
    local entries, ids = call('LRANGE', PENDING, position, position + 99), {}
    if #entries == 0 then return { 'ok', '', jobs } end
    for i = 1, #entries do ids[i] = sub(entries[i], 7) end
    local added = add(ids, nil, entries) - 1
    position = position + added
    scanned = scanned + added
    if added < #entries or scanned >= PENDING_SCANNED_MAX then return { 'ok', tostring(position), jobs } end
  end
end

-- In a sorted set a cursor is the score and the id of the last job of the previous page. Redis orders by score, then by the bytes of
-- the id. If that job has moved since, its former rank is found by binary search.
local KEY = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
local latest_first = state ~= 'l' and state ~= 'y'
local RANK, RANGE = 'ZRANK', 'ZRANGE'
if latest_first then RANK, RANGE = 'ZREVRANK', 'ZREVRANGE' end

local function place_after(score, id)
  -- The score is compared, because a renewed lease is further back now, behind jobs that were not listed yet.
  if call('ZSCORE', KEY, id) == score then return call(RANK, KEY, id) + 1 end
  local low = latest_first and call('ZCOUNT', KEY, '(' .. score, '+inf') or call('ZCOUNT', KEY, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', KEY, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local middle_id = call(RANGE, KEY, middle, middle)[1]
    local is_before = latest_first and is_below(id, middle_id) or not latest_first and is_below(middle_id, id)
    if is_before then low = middle + 1 else high = middle end
  end
  return low
end

local position = 0
if from ~= '' then
  local score, hex = string.match(from, '^(%d+) (%x+)$')
  position = place_after(score, (hex:gsub('%x%x', function(pair) return string.char(tonumber(pair, 16)) end)))
end
local found = call(RANGE, KEY, position, position + limit, 'WITHSCORES')
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
