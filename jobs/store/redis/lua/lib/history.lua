-- lib/history.lua: the attempts kept of a job. What operators did to it is kept beside them (lib/acts.lua), and so is the progress that the
-- store was told last, by the running attempt or an earlier one: the field id\0p is at(6) attempt(4) percent(1) note (renew.lua). A job whose
-- handler never reported has none. Attempt N is the field id\0N of `history`: ended at(6) kind(1), then what the kind requires.
-- kind   a verdict letter except G and Q (lib/settle.lua): the worker settled the attempt; then the record it sent
--        K  crashed: the lease expired after the handler had started; then instance(16) lease expiry(6)
--        N  lost: the lease expired before the handler had started; then instance(16) lease expiry(6) losses in a row(4), this
--           one included
--        W  lost: the lease expired, and it is not known whether the handler had started; then the same as for N
--        U  unclaimed: the worker never read the reply that granted the job (reconcile.lua); then instance(16)
--        Q  postponed: the worker gave the job back because another job had to end first; then instance(16) due(6)
--        G  damaged: the job was poisoned because its body or retry state cannot be read. It is attempt 0; nothing follows
local HISTORY_FIRST, HISTORY_LAST = 3, 7 -- how many of the first and of the last attempts are kept

-- The part \0N of a field name. Cached, because Lua formats a number again each time it becomes part of a string.
local suffixes = {}
local function suffix_of(n)
  local suffix = suffixes[n]
  if not suffix then
    suffix = '\0' .. n
    suffixes[n] = suffix
  end
  return suffix
end

-- Appends to `fields` the field that has to be deleted when attempt `n` is kept, if there is one.
local function evict_attempt(fields, id, n)
  local old = n - HISTORY_LAST
  if old > HISTORY_FIRST then fields[#fields + 1] = id .. suffix_of(old) end
end

-- Appends to `fields` all fields that a job with this many attempts may have, oldest first. Only a damaged job has attempt 0.
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

-- How many attempts in a row, up to attempt `n`, were lost before their handlers were known to have started (kinds N and W).
local function losses_until(id, n)
  local value = call('HGET', HISTORY, id .. '\0' .. n)
  local kind = value and #value == 33 and sub(value, 7, 7) -- 33: the length for N and W
  if kind == 'N' or kind == 'W' then return (struct.unpack('>I4', value, 30)) end
  return 0
end
