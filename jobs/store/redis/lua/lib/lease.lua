-- lib/lease.lua: keeps the longest lease in use (`lease_longest` in stats, in ms).

-- Leases of this length begin or are renewed: raises the longest lease in use. What is unknown stays unknown, because longer leases may
-- exist: reclaim.lua, which also lowers the length, finds it from the leases.
local function use_lease(lease_ms)
  if LONGEST_LEASE and lease_ms > LONGEST_LEASE then
    call('HSET', STATS, 'lease_longest', lease_ms, 'lease_longest_at', NOW)
  end
end
