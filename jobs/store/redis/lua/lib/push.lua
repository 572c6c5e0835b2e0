-- lib/push.lua: how a job comes (back) to pending.

-- Pushes the jobs of a list of id, counters, id, counters … to the front ('LPUSH') or the back ('RPUSH') of pending, in
-- their order, each with a new entry version, so that no older entry of theirs is live; what `past` must hold is appended to
-- `pasts`.
local function push(command, items, pasts)
  local n = #items / 2
  if n == 0 then return end
  local base, entries, p = NUMBERS_MAX + draw('entry_versions', n), {}, #pasts
  for k = 1, n do
    local id, entry_version = items[2 * k - 1], pack('>I6', base + k)
    entries[command == 'LPUSH' and n + 1 - k or k] = entry_version .. id
    pasts[p + 2 * k - 1], pasts[p + 2 * k] = id, items[2 * k] .. entry_version
  end
  each(command, PENDING, entries)
  wake_claimers()
end
