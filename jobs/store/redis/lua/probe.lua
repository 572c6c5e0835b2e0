-- probe.lua: a health check, which also reads the clock. It is a script, because the transitions are scripts.
-- Guarantee: reads only.
-- KEYS    none
-- ARGV    none
-- Reply   {'ok', now}
local t = redis.call('TIME')
return { 'ok', t[1] * 1000 + math.floor(t[2] / 1000) }
