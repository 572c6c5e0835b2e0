-- job.lua: everything kept about one job.
-- Guarantee: reads only; everything is of the same instant.
-- KEYS    see lib/queue.lua
-- ARGV    1 id
-- Reply   as in lib/view.lua
local id = ARGV[1]
return view_of(id)
