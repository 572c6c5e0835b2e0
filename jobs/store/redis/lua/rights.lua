-- rights.lua: find out which commands the scripts of this user cannot call. Redis does not roll back, so a script that met such a command
-- halfway would leave its work half done. So each connection asks before it runs other scripts, and again when its rights may have changed.
-- Guarantee: changes nothing; the key exists neither before nor after.
-- KEYS    1 a key that nothing else uses
-- ARGV    1 a channel
-- Reply   {'ok', commands that the user may not call, commands that the server does not know, 1 | 0: the user may publish to the channel,
--         0: the server refused writes, so some commands could not be tried; otherwise 1}
local key, channel = KEYS[1], ARGV[1]
local forbidden, unknown = {}, {}

-- Errors of commands that can be called: they could not read our arguments, or met a key of another type, or the server takes no writes now.
-- Any other error means that the command cannot be called. The servers say that in many ways, and also for a key that the user may not use.
local CALLABLE = {
  'not an integer', 'not a valid float', 'wrong number of arguments', 'Invalid stream ID', 'WRONGTYPE',
  'OOM ', 'READONLY ', 'MISCONF ', 'NOREPLICAS ', 'MASTERDOWN ',
}

-- Calls a command in a way that changes nothing.
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  local text = type(reply) == 'table' and reply.err
  if not text then return end
  for _, callable in ipairs(CALLABLE) do
    if string.find(text, callable, 1, true) then return end
  end
  local list = string.find(text, 'Unknown.*command') and unknown or forbidden
  list[#list + 1] = command
end

-- Arguments that cannot be read, or a key that does not exist, keep the commands that write from writing.
try('HDEL', key, '')
try('HSET', key, '', '', '')
local may_make_hash = #forbidden + #unknown == 0
try('HEXISTS', key, '')
try('HGET', key, '')
try('HINCRBY', key, '', 'x')
try('HLEN', key)
try('HMGET', key, '')
try('HRANDFIELD', key, 1)
try('HSCAN', key, 0)
try('HSTRLEN', key, '')
try('LINDEX', key, 0)
try('LLEN', key)
try('LPOP', key)
try('LRANGE', key, 0, 0)
try('PEXPIRE', key, 'x')
try('TIME')
try('UNLINK', key)
try('XADD', key, 'x', '', '')
try('XDEL', key, '0-1')
try('XRANGE', key, '-', '+')
try('XREVRANGE', key, '+', '-')
try('XTRIM', key, 'MAXLEN', 0)
try('ZADD', key, 'x', '')
try('ZCARD', key)
try('ZCOUNT', key, 0, 0)
try('ZMSCORE', key, '')
try('ZRANGE', key, 0, 0)
try('ZRANGEBYSCORE', key, 0, 0)
try('ZRANK', key, '')
try('ZREM', key, '')
try('ZREMRANGEBYRANK', key, 'x', 'x')
try('ZREVRANGE', key, 0, 0)
try('ZREVRANK', key, '')
try('ZSCAN', key, 0)
try('ZSCORE', key, '')
-- LPUSH, RPUSH, SADD and SREM would write whatever their arguments, so they are tried on a key that is a hash for this moment: they fail by its type.
-- A user who may not make that hash can run no script that writes.
local all_tried = true
if may_make_hash then
  all_tried = redis.pcall('HSET', key, '', '') == 1
  if all_tried then
    try('LPUSH', key, '')
    try('RPUSH', key, '')
    try('SADD', key, '')
    try('SREM', key, '')
    redis.call('HDEL', key, '')
  end
end
local published = redis.pcall('PUBLISH', channel, '')
return { 'ok', forbidden, unknown, type(published) == 'number' and 1 or 0, all_tried and 1 or 0 }
