-- jobs.lua: one page of the jobs in one state.
-- Guarantee: reads only; pending from the front, delayed and processing by due time and expiry, final states latest first.
-- KEYS    see lib/queue.lua
-- ARGV    1 state (lib/state.lua), 2 cursor or '', 3 jobs at most
-- Reply   {'ok', next cursor or '', jobs}; a job: {id, body, at or '', attempts, failures, crashes, releases,
--         entries of lib/read.lua's latest_errors}
local PAGE_BYTES = 8 * 1024 * 1024 -- a page ends here, whatever its number of jobs
local LOOKED_AT = 1000             -- entries of pending one call looks at; the page ends there
local state, from, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local jobs, bytes = {}, 0

local function add(id, body, at, p)
  local attempts, failures, crashes, releases = counters_now(id, state, p)
  local errors = {}
  if attempts > 0 or state == 'o' then errors = latest_errors(id, attempts) end
  jobs[#jobs + 1] = { id, body, at, attempts, failures, crashes, releases, errors }
  bytes = bytes + #body
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

-- A cursor is the score and the id of the last job given; when that job has left, the score alone finds the place.
local KEY = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
local latest_first = state ~= 'l' and state ~= 'y'
local at = 0
if from ~= '' then
  local score, id = string.match(from, '^([^ ]*) (.*)$')
  id = id and id:gsub('%x%x', function(hex) return string.char(tonumber(hex, 16)) end)
  local rank = id and call(latest_first and 'ZREVRANK' or 'ZRANK', KEY, id)
  if rank then
    at = rank + 1
  elseif tonumber(score) then
    at = latest_first and call('ZCOUNT', KEY, score, '+inf') or call('ZCOUNT', KEY, '-inf', score)
  end
end
local found = call(latest_first and 'ZREVRANGE' or 'ZRANGE', KEY, at, at + limit, 'WITHSCORES')
local function cursor_at(i)
  return found[i + 1] .. ' ' .. found[i]:gsub('.', function(c) return string.format('%02x', byte(c)) end)
end
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  if #jobs >= limit or bytes >= PAGE_BYTES then return { 'ok', cursor_at(i - 2), jobs } end
  local body = id ~= ROOM and call('HGET', JOB, id)
  if body then
    local p = call('HGET', PAST, id)
    add(id, body, score, p)
  end
end
return { 'ok', #found > 2 * limit and cursor_at(#found - 1) or '', jobs }
