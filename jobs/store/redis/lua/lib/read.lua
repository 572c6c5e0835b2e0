-- lib/read.lua: what the readers share.

-- The body of the job an entry of pending stands for, and its past; nothing when the entry is dead.
local function live_body(entry)
  local id = sub(entry, 7)
  local body, p = call('HGET', JOB, id), call('HGET', PAST, id)
  if p and #p < PAST_LEN then p = nil end
  if body and #body >= HEADER and live(entry, p or body, p and 17 or 1) then return body, p end
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

-- The history entries that may tell of a job's latest failure or crash, latest first: N, value, N, value …
local SURE = { R = true, D = true, P = true, K = true, G = true }
local NEVER = { C = true, F = true, L = true, U = true }
local function latest_errors(id, attempts)
  local fields, found = {}, {}
  history_fields(fields, id, attempts)
  for i = #fields, 1, -1 do
    local value = call('HGET', HISTORY, fields[i])
    local kind = value and sub(value, 7, 7)
    if value and not NEVER[kind] then
      found[#found + 1] = string.sub(fields[i], #id + 2)
      found[#found + 1] = value
      if SURE[kind] then break end
    end
  end
  return found
end
