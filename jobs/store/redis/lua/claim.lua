-- claim.lua: grant jobs from the front of `pending`, each with a lease.
-- Guarantee: a job is granted to one process instance at a time. A call sent again pops nothing and returns those of its jobs that are still held.
-- If there is nothing to grant, the first sending of a call writes nothing, except at most once in 30 s that a worker is idle: a hint wakes
-- all workers of a queue, and most of them find nothing.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8),
--         8 '1' numbered | '0', 9 '1' first sending (lib/replay.lua) | '0'
-- Reply   {'ok' | 'paused', now (of a call sent again: when it was applied), ids, bodies, retry states, next due, cut short, number} | {'superseded'} | {'taken'} (lib/replay.lua)
--         a body is header(12) and envelope; retry states is empty, or has '' for each job without one;
--         next due is {due time of the next delayed job or ''} when nothing was granted and nothing is pending, unless the
--         queue is paused, the call asked for no jobs or was sent again, or `delayed` has a wrong type; otherwise it is {};
--         cut short is cut_short in lib/claim.lua;
--         number is that of number_of_claim in lib/claim.lua
local limit, lease_ms, bytes_max, nonce = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local is_numbered, is_first_sending = ARGV[8] == '1', ARGV[9] == '1'
local function next_due()
  if limit == 0 then return {} end
  -- pcall, because the script may have written already: a key of a wrong type must not stop it here.
  local first = redis.pcall('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  return first.err and {} or { first[2] or '' }
end

local status, stored_reply, stored_at = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then
  local ids, bodies, retry_states = still_held(stored_reply[2], nonce)
  return { stored_reply[1], struct.unpack('>I6', stored_at), ids, bodies, retry_states, {}, stored_reply[3] or 0, stored_reply[4] or 0 }
end
if PAUSED or not call('LINDEX', PENDING, 0) then
  -- Most claims of idle workers end here, so this path is short.
  local result, notes_idle = PAUSED and 'paused' or 'ok', not PAUSED and not is_idle_noted()
  if notes_idle or not is_first_sending then begin_writes() end
  if notes_idle then note_idle() end
  if not is_first_sending then replay_close({ result, {} }) end
  return { result, NOW, {}, {}, {}, PAUSED and {} or next_due(), 0, 0 }
end
begin_writes()
local size_estimate = check_types_and_size_front()
local ids, bodies, retry_states = claim(limit, lease_ms, bytes_max, nonce, size_estimate)
local number = number_of_claim(is_numbered, #ids)
if #ids > 0 or #ended > 0 or not is_first_sending then replay_close({ 'ok', ids, cut_short, number }) end
local nothing_left = #ids == 0 and not call('LINDEX', PENDING, 0)
return { 'ok', NOW, ids, bodies, retry_states, nothing_left and next_due() or {}, cut_short, number }
