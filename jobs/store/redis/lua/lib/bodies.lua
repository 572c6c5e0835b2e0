-- lib/bodies.lua: bounds how many bytes of bodies a script reads.

-- How many bodies may be read next by a script that has read so many bytes of them; 0 at the limit.
local function bodies_allowed(bytes_read)
  local allowed = math.floor((READ_BYTES_MAX - bytes_read) / (LARGEST or LARGEST_UNKNOWN))
  return bytes_read == 0 and math.max(allowed, 1) or math.max(allowed, 0)
end
