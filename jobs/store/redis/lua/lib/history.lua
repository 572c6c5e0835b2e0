-- lib/history.lua: the attempts kept of a job, as fields id\0N of `history`: settled at(6) kind(1) record.
-- kind   a verdict of lib/settle.lua: the record the worker sent; K crashed: instance(16) lease expiry(6);
--        N, W lost before its handler had started, or it is not known whether it had: instance(16) lease expiry(6) in a row(4);
--        U unclaimed: instance(16); G damaged: the job was poisoned because its record cannot be read
local HISTORY_FIRST, HISTORY_LAST = 3, 7 -- a job keeps its first and its last attempts; those in between are only counted

-- The end of an attempt's field name, cached: Lua formats a number again each time it becomes part of a string.
local suffixes = {}
local function suffix_of(n)
  local suffix = suffixes[n]
  if not suffix then
    suffix = '\0' .. n
    suffixes[n] = suffix
  end
  return suffix
end

-- Appends the field that attempt `n` evicts, if any.
local function evict_attempt(fields, id, n)
  local old = n - HISTORY_LAST
  if old > HISTORY_FIRST then fields[#fields + 1] = id .. suffix_of(old) end
end

-- Appends the fields that a job with this many attempts may have, oldest first.
local function history_fields(fields, id, attempts)
  local n = #fields
  for a = 0, math.min(attempts, HISTORY_FIRST) do
    n = n + 1
    fields[n] = id .. suffix_of(a)
  end
  for a = math.max(HISTORY_FIRST + 1, attempts - HISTORY_LAST + 1), attempts do
    n = n + 1
    fields[n] = id .. suffix_of(a)
  end
end

-- How many attempts in a row, up to attempt `n`, were lost before they were known to have started.
local function losses_until(id, n)
  local value = call('HGET', HISTORY, id .. '\0' .. n)
  local kind = value and #value == 33 and sub(value, 7, 7)
  if kind == 'N' or kind == 'W' then return (struct.unpack('>I4', value, 30)) end
  return 0
end
