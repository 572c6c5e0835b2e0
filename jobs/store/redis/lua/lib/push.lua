-- lib/push.lua: how a job returns to `pending`.

-- Pushes jobs, given as id, counters, id, counters …, to the front ('LPUSH') or the back ('RPUSH') of pending, in their
-- order, each with a new entry version, so that none of their older entries is live. Appends the new retry states to
-- `retry_states`.
local function push(command, items, retry_states)
  local n = #items / 2
  if n == 0 then return end
  local base, entries, p = NUMBERS_MAX + draw('entry_versions', n), {}, #retry_states
  for k = 1, n do
    local id, entry_version = items[2 * k - 1], pack('>I6', base + k)
    entries[command == 'LPUSH' and n + 1 - k or k] = entry_version .. id
    retry_states[p + 2 * k - 1], retry_states[p + 2 * k] = id, items[2 * k] .. entry_version
  end
  each(command, PENDING, entries)
  wake_claimers()
end
