-- lib/byte_order.lua: compares strings by their bytes, as Redis does for members of a sorted set with the same score.

-- Not `a < b`: Lua compares strings by locale.
local function is_below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
