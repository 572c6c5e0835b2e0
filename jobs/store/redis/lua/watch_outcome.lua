-- watch_outcome.lua: read one job, and announce a waiter for its outcome.
-- Guarantee: until the announced instant every script that ends a job of this queue publishes a hint. A job that has ended, or
-- is not kept, announces nothing.
-- KEYS    see lib/queue.lua
-- ARGV    1 id, 2 how long the waiter waits, in ms
-- Reply   as in lib/view.lua
local id, wait_ms = ARGV[1], tonumber(ARGV[2])
local view = view_of(id)
local waiting = view[1] == 'ok' and not string.find('cdox', view[3], 1, true)
if waiting and AWAITED_UNTIL < NOW + wait_ms then
  call('HSET', STATS, 'awaited_until', string.format('%.0f', NOW + wait_ms))
end
return view
