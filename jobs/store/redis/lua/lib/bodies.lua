-- lib/bodies.lua: bounds how many bytes of bodies a script reads.

-- Which of the jobs ids[first] to ids[last] may be read next by a script that has read `bytes_read` bytes of bodies: returns the index of the
-- last one, or first - 1 if none. A script that has read nothing may read one body of any size. The sizes are not looked up if LARGEST
-- (lib/queue.lua) shows that all these bodies may be read.
local function last_readable(ids, first, last, bytes_read)
  local left = READ_BYTES_MAX - bytes_read
  if LARGEST and (last - first + 1) * LARGEST <= left then return last end
  for k = first, last do
    left = left - call('HSTRLEN', JOB, ids[k])
    if left < 0 then return bytes_read == 0 and k == first and k or k - 1 end
  end
  return last
end
