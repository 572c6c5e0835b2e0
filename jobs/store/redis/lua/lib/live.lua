-- lib/live.lua: which entries of `pending` are live; the others are stale and stand for no job.

-- Whether an entry has the entry version that is stored at `from` in `holder`. Compares bytes, because Lua hashes every new
-- string.
local function has_entry_version(entry, holder, from)
  local a, b, c, d, e, f = byte(entry, 1, 6)
  local u, v, w, x, y, z = byte(holder, from, from + 5)
  return f == z and e == y and d == x and c == w and b == v and a == u
end
