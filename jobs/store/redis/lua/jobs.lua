-- jobs.lua: one page of the jobs in one state.
-- Guarantee: reads only; pending from the front, delayed and processing by due time and expiry, final states latest first.
-- KEYS    see lib/queue.lua
-- ARGV    1 state (lib/state.lua), 2 cursor or '' (pending: a number; others: a score, a blank, an id in hex), 3 jobs at most
-- Reply   {'ok', next cursor or '', jobs}; a job: {id, body, at or '', attempts, failures, crashes, releases,
--         lib/read.lua's latest_attempts}
local PAGE_BYTES = 8 * 1024 * 1024 -- a page ends here, whatever its number of jobs
local LOOKED_AT = 1000             -- entries of pending one call looks at; the page ends there
local state, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local jobs, bytes = {}, 0

local function add(id, body, at, p)
  local attempts, failures, crashes, releases = counters_now(id, state, p)
  local told, size = {}, 0
  if attempts > 0 or state == 'o' then told, size = latest_attempts(id, state == 'l' and attempts - 1 or attempts) end
  jobs[#jobs + 1] = { id, body, at, attempts, failures, crashes, releases, told }
  bytes = bytes + #body + size
end

if state == 'p' then
  local at, looked = tonumber(from) or 0, 0
  while true do
    local entries = call('LRANGE', PENDING, at, at + 99)
    if #entries == 0 then return { 'ok', '', jobs } end
    for i = 1, #entries do
      if #jobs >= limit or bytes >= PAGE_BYTES or looked >= LOOKED_AT then return { 'ok', tostring(at), jobs } end
      at = at + 1
      looked = looked + 1
      local body, p = nil, nil
      if #entries[i] > 6 then body, p = live_body(entries[i]) end
      if body then add(sub(entries[i], 7), body, '', p) end
    end
  end
end

-- A cursor is the score and the id of the last job given. Redis orders by score, then by bytes; when that job has left,
-- its place is looked for by halves.
local KEY = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
local latest_first = state ~= 'l' and state ~= 'y'
local RANK, RANGE = 'ZRANK', 'ZRANGE'
if latest_first then RANK, RANGE = 'ZREVRANK', 'ZREVRANGE' end

local function place_after(score, id)
  local rank = call(RANK, KEY, id)
  if rank then return rank + 1 end
  local low = latest_first and call('ZCOUNT', KEY, '(' .. score, '+inf') or call('ZCOUNT', KEY, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', KEY, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local there = call(RANGE, KEY, middle, middle)[1]
    local before = latest_first and below(id, there) or not latest_first and below(there, id)
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
-- The padding of `lease` stands behind all jobs; nothing comes after it.
if found[#found - 1] == ROOM then found[#found], found[#found - 1] = nil, nil end
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  if #jobs >= limit or bytes >= PAGE_BYTES then return { 'ok', cursor_at(i - 2), jobs } end
  local body = call('HGET', JOB, id)
  if body then
    local p = call('HGET', PAST, id)
    add(id, body, score, p)
  end
end
return { 'ok', #found > 2 * limit and cursor_at(#found - 1) or '', jobs }
