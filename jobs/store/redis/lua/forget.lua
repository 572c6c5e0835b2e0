-- forget.lua: drop the last calls of an instance's replay slots, because it will never call again; scans one slice of them.
-- Guarantee: replay slots of other instances are left alone.
-- KEYS    see lib/queue.lua
-- ARGV    1 instance(16), 2 cursor, 3 replay slots to scan
-- Reply   {'ok', next cursor ('0': all were scanned)}
local instance, start, slots_max = ARGV[1], ARGV[2], ARGV[3]
local scanned, mine = call('HSCAN', REPLAY, start, 'COUNT', slots_max), {}
for i = 1, #scanned[2], 2 do
  if sub(scanned[2][i], 1, 16) == instance then mine[#mine + 1] = scanned[2][i] end
end
each('HDEL', REPLAY, mine)
return { 'ok', scanned[1] }
