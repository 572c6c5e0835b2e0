-- lib/live.lua: tells live entries of `pending` from stale ones. An entry is stale when its job is gone or has another entry version.

-- Whether an entry is live: it has the entry version of its job, six bytes at `from` in `holder`. The holder is the job's
-- retry state (`from` is 17), or its body if it has none (`from` is 1). Compares bytes instead of substrings, because Lua hashes every new string.
local function has_entry_version(entry, holder, from)
  local a, b, c, d, e, f = byte(entry, 1, 6)
  local u, v, w, x, y, z = byte(holder, from, from + 5)
  return f == z and e == y and d == x and c == w and b == v and a == u
end
