-- lib/live.lua: which entries of pending count.

-- Whether an entry has the entry version that stands at `from` in `holder`. Bytes, because every string made from them would
-- be hashed.
local function live(entry, holder, from)
  local a, b, c, d, e, f = byte(entry, 1, 6)
  local u, v, w, x, y, z = byte(holder, from, from + 5)
  return f == z and e == y and d == x and c == w and b == v and a == u
end
