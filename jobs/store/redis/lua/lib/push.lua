-- lib/push.lua: how a job comes (back) to pending.

-- Pushes { id, counters } items to the front ('LPUSH') or the back ('RPUSH') of pending, in their order, each with a
-- new ticket, so that no older entry of theirs is live; what `past` must hold is appended to `pasts`.
local function push(command, items, pasts)
  local n = #items
  if n == 0 then return end
  local base, entries, p = NUMBERS_MAX + draw('tickets', n), {}, #pasts
  for k = 1, n do
    local ticket = pack('>I6', base + k)
    entries[command == 'LPUSH' and n + 1 - k or k] = ticket .. items[k][1]
    pasts[p + 2 * k - 1], pasts[p + 2 * k] = items[k][1], items[k][2] .. ticket
  end
  each(command, PENDING, entries)
  wake_claimers()
end
