-- watch_outcome.lua: read how a job ended; if it has not ended, register that a client waits for its outcome.
-- Guarantee: after the reply 'waits', for at least half of the registered wait, every transition that ends a job of this queue publishes
-- a hint, and a later call is told that this job completed even if it is not kept. For a job that has ended, or is not kept, nothing is
-- registered. A server that takes no writes replies the same, but nothing is registered.
-- KEYS    see lib/queue.lua
-- ARGV    1 id, 2 how long the client waits, in ms
-- Reply   {'waits', state (lib/state.lua)} | {'completed'}: the job completed and is not kept | as in lib/view.lua, when it has ended
--         or there is no such job
local OVER_MAX = 200 -- most waits that one call deletes because they are over; a call adds at most one
local id, wait_ms = ARGV[1], tonumber(ARGV[2])
local waiting, completed = 'w' .. id, 'c' .. id
local scores = redis.pcall('ZMSCORE', AWAITED_JOBS, waiting, completed)
if scores.err then scores = {} end
local waits_until, completed_until = tonumber(scores[1] or '') or 0, tonumber(scores[2] or '') or 0

if call('HEXISTS', JOB, id) == 0 then return { completed_until > NOW and 'completed' or 'none' } end
local state = state_of(id)
if string.find('cdox', state, 1, true) then return view_of(id) end

-- Registered again only if the earlier registration ends within half of this wait, so that most polls only read.
local half_way = NOW + wait_ms / 2
local wait_until = string.format('%.0f', NOW + wait_ms)
if AWAITED_UNTIL < half_way then redis.pcall('HSET', STATS, 'awaited_until', wait_until) end
if waits_until < half_way then
  -- The ZADD comes before the deletion, so that a server that is out of memory refuses it: after a write it would accept it.
  redis.pcall('ZADD', AWAITED_JOBS, wait_until, waiting)
  local over = redis.pcall('ZRANGEBYSCORE', AWAITED_JOBS, '-inf', NOW_TEXT, 'LIMIT', 0, OVER_MAX)
  if not over.err and #over > 0 then redis.pcall('ZREM', AWAITED_JOBS, unpack(over)) end
  redis.pcall('PEXPIRE', AWAITED_JOBS, OUTCOME_WAIT_MS)
end
-- The id was enqueued again, so the completion that `awaited` holds is that of an earlier job.
if completed_until > 0 then redis.pcall('ZREM', AWAITED_JOBS, completed) end
return { 'waits', state }
