-- delete_queue.lua: delete all keys of a queue. Its name in the list of queues is removed after this script (admin.rs).
-- Guarantee: a queue with live, dead or poisoned jobs is left alone, unless they are to be deleted too. One write, which unlinks the keys: the server frees their
-- memory in the background, so the call costs the same for a queue of any length.
-- KEYS    see lib/queue.lua
-- ARGV    1 'refuse' | 'delete': what to do with such jobs
-- Reply   {'ok', jobs deleted} | {'unfinished', pending, processing, delayed, dead, poisoned}

-- With 'delete' the keys are read by pcall and a key of a wrong type counts as empty, so that a damaged queue can be deleted. Otherwise
-- such a key stops the script.
local read = ARGV[1] == 'delete' and redis.pcall or call
local function number(...)
  local reply = read(...)
  return type(reply) ~= 'table' and tonumber(reply) or 0
end

local pending = math.max(0, number('LLEN', PENDING) - math.max(0, number('HGET', STATS, 'stale')))
local leases, delayed, jobs = number('ZCARD', LEASE), number('ZCARD', DELAYED), number('HLEN', JOB)
if leases > 0 and read('ZSCORE', LEASE, ENCODING_SENTINEL) then leases = leases - 1 end
-- `stale` may be too large after a lost write, so the pending jobs are also counted as all jobs but those elsewhere. The larger number holds.
local dead, poisoned = number('ZCARD', DEAD), number('ZCARD', POISONED)
local ended = number('ZCARD', COMPLETED) + number('ZCARD', CANCELLED) + dead + poisoned
pending = math.max(pending, jobs - ended - leases - delayed)
if ARGV[1] ~= 'delete' and pending + leases + delayed + dead + poisoned > 0 then
  return { 'unfinished', pending, leases, delayed, dead, poisoned }
end
call('UNLINK', unpack(KEYS))
return { 'ok', jobs }
