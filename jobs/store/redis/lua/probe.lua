-- probe.lua: a health check, which also reads the clock. It is a script, because the transitions are scripts.
-- Guarantee: changes nothing; the key exists neither before nor after.
-- KEYS    1 a key that nothing else uses
-- ARGV    none
-- Reply   {'ok', now, '' or the error with which the server refuses writes}
local t = redis.call('TIME')
-- A write that needs memory, like that of a new job. XX: members are not added.
local written = redis.pcall('ZADD', KEYS[1], 'XX', 0, '')
return { 'ok', t[1] * 1000 + math.floor(t[2] / 1000), type(written) == 'table' and written.err or '' }
