-- watch_outcome.lua: read how a job ended, or announce a waiter for its outcome.
-- Guarantee: from an answer 'waits' on, for half of the wait at least, every script that ends a job of this queue publishes a hint, and
-- the outcome of this job is answered although it completes and is not kept. A job that has ended, or is not kept, announces nothing.
-- On a server that takes no more writes, only the answer is guaranteed.
-- KEYS    see lib/queue.lua
-- ARGV    1 id, 2 how long the waiter waits, in ms
-- Reply   {'waits', state (lib/state.lua)} | {'completed'}: and not kept | once it has ended, as in lib/view.lua
local id, wait_ms = ARGV[1], tonumber(ARGV[2])
local waiting, completed = 'w' .. id, 'c' .. id
local seen = redis.pcall('ZMSCORE', AWAITED_JOBS, waiting, completed)
if seen.err then seen = {} end
local waits_until, completed_until = tonumber(seen[1] or '') or 0, tonumber(seen[2] or '') or 0

if call('HEXISTS', JOB, id) == 0 then return { completed_until > NOW and 'completed' or 'none' } end
local state = state_of(id)
if string.find('cdox', state, 1, true) then return view_of(id) end

-- Announced again only when half of the wait is over, so that most looks only read.
local enough = NOW + wait_ms / 2
local wait_until = string.format('%.0f', NOW + wait_ms)
if AWAITED_UNTIL < enough then redis.pcall('HSET', STATS, 'awaited_until', wait_until) end
if waits_until < enough then
  -- First: after a deletion a full server would take it.
  redis.pcall('ZADD', AWAITED_JOBS, wait_until, waiting)
  redis.pcall('ZREMRANGEBYSCORE', AWAITED_JOBS, '-inf', NOW_TEXT)
  redis.pcall('PEXPIRE', AWAITED_JOBS, OUTCOME_WAIT_MS)
end
-- An outcome from before the job was enqueued again.
if completed_until > 0 then redis.pcall('ZREM', AWAITED_JOBS, completed) end
return { 'waits', state }
