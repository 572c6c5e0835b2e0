-- record.lua: append supervision events; the latest ones are kept.
-- Guarantee: all of a call's events or none.
-- KEYS    1 ledger, a stream
-- ARGV    1 events kept at most; then events, oldest first
-- Reply   {'ok'}
for i = 2, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*', 'e', ARGV[i]) end
return { 'ok' }
