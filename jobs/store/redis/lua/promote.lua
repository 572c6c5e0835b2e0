-- promote.lua: move due jobs to the back of `pending`, in the order of their due times.
-- Guarantee: a due job is moved once, however many callers ask. If none is due, the first sending of a call writes nothing.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua, 4 limit, 5 '1' first sending (lib/replay.lua) | '0'
-- Reply   {'ok', now, moved, due time of the next delayed job or ''} | {'superseded'} | {'taken'} (lib/replay.lua)
local limit, is_first_sending = ARGV[4], ARGV[5] == '1'
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end

local moved = 0
local due = call('ZRANGEBYSCORE', DELAYED, '-inf', NOW_TEXT, 'LIMIT', 0, limit)
if #due > 0 or not is_first_sending then begin_writes() end
if #due > 0 then
  check_all_types()
  local old_retry_states = call('HMGET', RETRY, unpack(due))
  local moving, retry_states, garbage = {}, {}, 0
  for i = 1, #due do
    if call('HEXISTS', JOB, due[i]) == 1 then
      moved = moved + 1
      moving[2 * moved - 1], moving[2 * moved] = due[i], pack('>I4I4I4I4', counters_of(old_retry_states[i]))
    else
      garbage = garbage + 1
    end
  end
  call('ZREM', DELAYED, unpack(due))
  push('RPUSH', moving, retry_states)
  put(RETRY, retry_kept, retry_states)
  count('garbage', garbage)
end
local next_due = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
local reply = { 'ok', NOW, moved, next_due or '' }
return moved == 0 and is_first_sending and reply or replay_close(reply)
