-- claim.lua: grant jobs from the front of `pending` under a new lease.
-- Guarantee: a job is granted to one owner at a time; a call sent again gets the same grants and pops nothing.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8)
-- Reply   {'ok' | 'paused', now, ids, bodies, retry states, quiet} | {'superseded'} | {'other'}
--         a body is header(12) and envelope; retry states is empty, or has '' for each job without one;
--         quiet is {due time of the next delayed job or ''} when nothing is pending now, else {}; also {} when the call
--         asked for no jobs, and in the reply to a call sent again
local limit, lease_ms, bytes_max, nonce = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local function quiet()
  if limit == 0 then return {} end
  -- Something may have been written by now, so a key of a wrong type must not stop the script here.
  local first = redis.pcall('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  return first.err and {} or { first[2] or '' }
end

local open, last, at = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then
  local ids, bodies, retry_states = claimed(last[2], nonce)
  return { last[1], struct.unpack('>I6', at), ids, bodies, retry_states, {} }
end
if PAUSED then
  replay_close({ 'paused', {} })
  return { 'paused', NOW, {}, {}, {}, {} }
end
if not call('LINDEX', PENDING, 0) then
  -- Most claims of an idle worker end here.
  about_to_wait()
  replay_close({ 'ok', {} })
  return { 'ok', NOW, {}, {}, {}, quiet() }
end
local ids, bodies, retry_states = claim(limit, lease_ms, bytes_max, nonce, size_of_front())
replay_close({ 'ok', ids })
local nothing_left = #ids == 0 and not call('LINDEX', PENDING, 0)
return { 'ok', NOW, ids, bodies, retry_states, nothing_left and quiet() or {} }
