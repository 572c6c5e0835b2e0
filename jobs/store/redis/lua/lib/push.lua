-- lib/push.lua: adds stored jobs to `pending`: promoted, retried, released, reclaimed, redriven, repaired.

-- Pushes jobs, given as id, counters, id, counters …, to the front ('LPUSH') or the back ('RPUSH') of pending, in their order. Each
-- job gets a new entry version, so that its older entries become stale. Appends id, retry state to `retry_states` for each job; the
-- caller has to write these.
local function push(command, items, retry_states)
  local n = #items / 2
  if n == 0 then return end
  local base, entries, offset = NUMBERS_MAX + draw('entry_versions', n), {}, #retry_states
  for k = 1, n do
    local id, entry_version = items[2 * k - 1], pack('>I6', base + k)
    entries[command == 'LPUSH' and n + 1 - k or k] = entry_version .. id
    retry_states[offset + 2 * k - 1], retry_states[offset + 2 * k] = id, items[2 * k] .. entry_version
  end
  call_in_chunks(command, PENDING, entries)
  hint_claimable()
end
