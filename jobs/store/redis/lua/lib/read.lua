-- lib/read.lua: what the scripts that show jobs share: live entries, counters, latest errors.

-- Whether an entry of pending is live, given the body and the retry state of its job.
local function is_live(entry, body, retry)
  if retry and #retry < RETRY_LEN then retry = nil end
  return #entry > 6 and body and #body >= HEADER and has_entry_version(entry, retry or body, retry and 17 or 1)
end

-- The body of the job of an entry of pending, nil when the entry is stale; and how many bytes of bodies were read. For an entry that
-- the retry state shows to be stale no body is read.
local function live_body(entry)
  local id = sub(entry, 7)
  local retry = call('HGET', RETRY, id)
  if retry and #retry >= RETRY_LEN and not has_entry_version(entry, retry, 17) then return nil, 0 end
  local body = call('HGET', JOB, id)
  return is_live(entry, body, retry) and body or nil, #(body or '')
end

-- Returns attempts, failures, crashes, releases. Unlike those in the retry state, they include a running attempt, and a first attempt
-- that completed. `grant` is needed for a processing job.
local function counters_now(state, retry, grant)
  local attempts, failures, crashes, releases = counters_of(retry)
  if state == 'l' then
    if grant and #grant == GRANT_LEN then attempts = struct.unpack('>I4', grant) end
  elseif state == 'c' and not retry then
    attempts = 1
  end
  return attempts, failures, crashes, releases
end

-- The kinds of attempts (lib/history.lua) that certainly hold an error. Of the other kinds, some attempts do.
local ERROR = { R = true, D = true, P = true, K = true, N = true, W = true, G = true }

-- The attempts kept of a job as N, value, N, value …, from the latest back to one that certainly holds an error: a listing shows
-- only the latest error. Also returns the bytes of the values.
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
