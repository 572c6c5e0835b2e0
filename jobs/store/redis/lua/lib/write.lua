-- lib/write.lua: what the scripts that change one queue share. Scripts that only read do without it, so that a user who may only read can
-- run them (rights.lua).
local UNPACKED_MAX = 2000 -- most arguments of one call; an even number leaves each field beside its value

-- The first write of every script except enqueue.lua, forget.lua, delete_queue.lua and watch_outcome.lua. It changes nothing. A server that takes no writes refuses it, so
-- that nothing is half written. A server whose memory is full accepts it, because it needs no memory; Redis checks the memory only before a
-- script's first write, so the later ones pass too. Jobs that are kept can be settled, renewed and promoted, while new ones are refused.
local function begin_writes() call('HDEL', STATS, '') end

-- Adds to a counter in stats. A counter that somebody overwrote by hand starts again instead of stopping the queue.
local function count(name, n)
  if n == 0 then return end
  local after = redis.pcall('HINCRBY', STATS, name, n)
  if type(after) ~= 'number' then call('HSET', STATS, name, n) end
end

-- Draws n numbers from a counter in stats that only grows. Returns base: the numbers are base + 1 to base + n. A new, lost or
-- overwritten counter starts from the clock in ms. This is above every number drawn before, unless the queue has drawn more than a
-- thousand per second on average since it was new. scan_pending.lua relies on this start when a counter is missing.
local function draw(counter, n)
  local last = redis.pcall('HINCRBY', STATS, counter, n)
  if type(last) ~= 'number' or last <= n or last >= NUMBERS_MAX then
    last = NOW + n
    call('HSET', STATS, counter, last)
  end
  return last - n
end

-- Calls a command with a list of arguments that may be too long for one unpack.
local function call_in_chunks(command, key, values)
  local n = #values
  if n == 0 then return end
  if n <= UNPACKED_MAX then return call(command, key, unpack(values)) end
  for i = 1, n, UNPACKED_MAX do call(command, key, unpack(values, i, math.min(i + UNPACKED_MAX - 1, n))) end
end

-- Writes fields to a hash that holds the encoding sentinel. `kept` is the number of fields it had before.
local function put(key, kept, fields)
  if #fields == 0 then return end
  if kept == 0 then call('HSET', key, ENCODING_SENTINEL, '') end
  call_in_chunks('HSET', key, fields)
end
