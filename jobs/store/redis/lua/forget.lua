-- forget.lua: drop the last calls of an instance's replay slots; it will never call again. Looks at one slice of them.
-- Guarantee: replay slots of others are left alone.
-- KEYS    see lib/queue.lua
-- ARGV    1 instance(16), 2 cursor, 3 replay slots to look at
-- Reply   {'ok', next cursor ('0': all were seen)}
local scanned, mine = call('HSCAN', REPLAY, ARGV[2], 'COUNT', ARGV[3]), {}
for i = 1, #scanned[2], 2 do
  if sub(scanned[2][i], 1, 16) == ARGV[1] then mine[#mine + 1] = scanned[2][i] end
end
each('HDEL', REPLAY, mine)
return { 'ok', scanned[1] }
