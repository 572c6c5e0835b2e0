-- probe.lua: a health check. It runs as a script, because the transitions do.
-- Guarantee: reads only.
-- KEYS    none
-- ARGV    none
-- Reply   {'ok', now}
local t = redis.call('TIME')
return { 'ok', t[1] * 1000 + math.floor(t[2] / 1000) }
