-- lib/forget.lua: the end of a job's traces.

-- Deletes the jobs named, at most BATCH_MAX of them, and everything kept of them.
local function forget(ids)
  if #ids == 0 then return end
  local fields, pasts = {}, {}
  if pasts_kept > 0 then pasts = call('HMGET', PAST, unpack(ids)) end
  for i = 1, #ids do
    if pasts[i] then
      local attempts = counters_of(pasts[i])
      history_fields(fields, ids[i], attempts)
    else
      -- No past: one attempt at most.
      fields[#fields + 1] = ids[i] .. suffix_of(1)
    end
  end
  each('HDEL', HISTORY, fields)
  if pasts_kept > 0 then each('HDEL', PAST, ids) end
  each('HDEL', JOB, ids)
end
