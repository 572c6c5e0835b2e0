-- probe.lua: a health check through the machinery that the transitions use.
-- Guarantee: reads only.
-- KEYS    none
-- ARGV    none
-- Reply   {'ok', now}
local t = redis.call('TIME')
return { 'ok', t[1] * 1000 + math.floor(t[2] / 1000) }
