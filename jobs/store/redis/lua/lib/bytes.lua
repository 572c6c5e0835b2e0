-- lib/bytes.lua: the order of bytes, in which Redis orders members of one score.

-- Lua's own order of strings is the locale's.
local function below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
