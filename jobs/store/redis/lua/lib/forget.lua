-- lib/forget.lua: the end of a job's traces.
local HISTORY_FIRST, HISTORY_LAST = 3, 7 -- stored attempts of a job: its first ones and its last ones

-- Appends the history fields a job may have, given how many attempts it had.
local function history_fields(fields, id, attempts)
  local n = #fields
  for a = 0, math.min(attempts, HISTORY_FIRST) do n = n + 1; fields[n] = id .. '\0' .. a end
  for a = math.max(HISTORY_FIRST + 1, attempts - HISTORY_LAST + 1), attempts do n = n + 1; fields[n] = id .. '\0' .. a end
end

-- Deletes the jobs named and everything kept of them.
local function forget(ids)
  if #ids == 0 then return end
  local fields = {}
  if pasts_kept > 0 then
    local pasts = call('HMGET', PAST, unpack(ids))
    for i = 1, #ids do
      local p = pasts[i]
      history_fields(fields, ids[i], p and #p >= PAST_LEN and struct.unpack('>I4', p) or 1)
    end
  else
    for i = 1, #ids do fields[i] = ids[i] .. '\0001' end
  end
  each('HDEL', HISTORY, fields)
  if pasts_kept > 0 then each('HDEL', PAST, ids) end
  each('HDEL', JOB, ids)
end
