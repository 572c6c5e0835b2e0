-- probe.lua: a sign of life through the machinery the transitions use.
-- Guarantee: reads only.
-- KEYS    none
-- ARGV    none
-- Reply   {'ok', now}
local t = redis.call('TIME')
return { 'ok', t[1] * 1000 + math.floor(t[2] / 1000) }
