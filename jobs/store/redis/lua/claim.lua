-- claim.lua: grant jobs from the front of pending under a new lease.
-- Guarantee: a job is granted to one owner at a time; a call sent again gets the same grants and pops nothing.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua), 4 limit, 5 lease ms, 6 bytes at most, 7 nonce(8)
-- Reply   {'ok' | 'paused', now, ids, bodies, pasts, quiet} | {'superseded'} | {'other'}
--         a body is header(12) and envelope; pasts is empty, or '' where a job has none;
--         quiet is {due time of the next delayed job or ''} where nothing is pending now; {} else, and when nothing was
--         asked for, and in the reply to a call sent again
local nonce = ARGV[7]
local function quiet()
  if ARGV[4] == '0' then return {} end
  -- By now something may have been written; a key of a wrong type is left to those who work with it.
  local first = redis.pcall('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  return first.err and {} or { first[2] or '' }
end

local open, last, at = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then
  local ids, bodies, pasts = claimed(last[2], nonce)
  return { last[1], struct.unpack('>I6', at), ids, bodies, pasts, {} }
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
local ids, bodies, pasts = claim(tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), nonce, look_ahead())
replay_close({ 'ok', ids })
local nothing_left = #ids == 0 and not call('LINDEX', PENDING, 0)
return { 'ok', NOW, ids, bodies, pasts, nothing_left and quiet() or {} }
