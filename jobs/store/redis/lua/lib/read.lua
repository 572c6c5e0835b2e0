-- lib/read.lua: what the readers share.

-- Whether an entry of pending counts, given the body and the past of its job.
local function is_live(entry, body, p)
  if p and #p < PAST_LEN then p = nil end
  return #entry > 6 and body and #body >= HEADER and live(entry, p or body, p and 17 or 1)
end

-- The body of the job an entry of pending stands for; nothing when the entry is dead.
local function live_body(entry)
  local id = sub(entry, 7)
  local body, p = call('HGET', JOB, id), call('HGET', PAST, id)
  return is_live(entry, body, p) and body or nil
end

-- attempts, failures, crashes, releases, those of a grant or a completion without past included.
local function counters_now(id, state, p)
  local attempts, failures, crashes, releases = counters_of(p)
  if state == 'l' then
    local g = call('HGET', GRANT, id)
    if g and #g == GRANT_LEN then attempts = struct.unpack('>I4', g) end
  elseif state == 'c' and not p then
    attempts = 1
  end
  return attempts, failures, crashes, releases
end

-- Whether an attempt of this kind (lib/history.lua) surely tells of an error.
local ERROR = { R = true, D = true, P = true, K = true, N = true, W = true, G = true }

-- The attempts kept of a job, latest first: N, value, N, value … No further back than the one that surely is an error:
-- whoever looks for the latest error needs no more. Gives their bytes too.
local function latest_attempts(id, attempts)
  local fields, found, bytes = {}, {}, 0
  history_fields(fields, id, attempts)
  for i = #fields, 1, -1 do
    local value = call('HGET', HISTORY, fields[i])
    if value then
      found[#found + 1] = sub(fields[i], #id + 2)
      found[#found + 1] = value
      bytes = bytes + #value
      if ERROR[sub(value, 7, 7)] then break end
    end
  end
  return found, bytes
end
