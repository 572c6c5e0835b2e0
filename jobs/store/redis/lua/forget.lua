-- forget.lua: remove the replay slots of a process instance that has ended and will never call again; scans one slice.
-- Guarantee: replay slots of other process instances are left alone.
-- KEYS    see lib/queue.lua
-- ARGV    1 instance(16), 2 cursor, 3 about how many replay slots to scan
-- Reply   {'ok', next cursor ('0': all were scanned)}
local instance, start, slots_max = ARGV[1], ARGV[2], ARGV[3]
local scanned, owned = call('HSCAN', REPLAY, start, 'COUNT', slots_max), {}
for i = 1, #scanned[2], 2 do
  if sub(scanned[2][i], 1, 16) == instance then owned[#owned + 1] = scanned[2][i] end
end
call_in_chunks('HDEL', REPLAY, owned)
return { 'ok', scanned[1] }
