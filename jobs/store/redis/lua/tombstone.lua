-- tombstone.lua: what is left of a job that was removed.
-- Guarantee: reads only; there are at most TOMBSTONES_MAX tombstones (lib/tombstones.lua).
-- KEYS    see lib/queue.lua
-- ARGV    1 id
-- Reply   {'none'} | {'ok', its latest tombstone (lib/tombstones.lua)}
local id = ARGV[1]
local kept = call('LRANGE', TOMBSTONES, 0, -1)
for k = #kept, 1, -1 do
  if byte(kept[k], 15) == #id and sub(kept[k], 16, 15 + #id) == id then return { 'ok', kept[k] } end
end
return { 'none' }
