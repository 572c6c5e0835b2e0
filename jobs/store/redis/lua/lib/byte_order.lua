-- lib/byte_order.lua: the order of bytes, in which Redis sorts members of the same score.

-- Lua compares strings by locale.
local function is_below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
