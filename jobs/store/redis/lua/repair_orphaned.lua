-- repair_orphaned.lua: put orphaned jobs, which are in no container, back into the sorted set they were in, or else to the front of
-- `pending`. Poison those that cannot be read.
-- Guarantee: changes a job only if it is in no sorted set and still has the entry version that scan_jobs.lua read.
-- KEYS    see lib/queue.lua
-- ARGV    1, 2 not used, 3 hint channel; then pairs that scan_jobs.lua found: id, entry version(6) or '' if the
--         job cannot be read
-- Reply   {'ok', ids put back, ids poisoned as damaged}
check_all_types()
local CONTAINER_AFTER = { -- by the kind of the last attempt (lib/history.lua)
  C = COMPLETED, D = DEAD, A = DEAD, P = POISONED, G = POISONED, K = POISONED, N = POISONED, W = POISONED, X = CANCELLED,
}

-- The kinds of attempts after which a job usually runs again. If its cancellation was requested during such an attempt, the job was cancelled
-- instead. In place of R, F, L and Q, lib/settle.lua records X, as long as the grant holds the request.
local CANCELLABLE_END = { R = true, F = true, L = true, Q = true, U = true, K = true, N = true, W = true }

-- The sorted set an orphaned job was in, and since when. nil for a job that goes to pending, because it was pending, delayed or leased.
local function former_container(id, retry)
  if retry and sub(retry, 17, 22) ~= NO_VERSION then return end
  local attempts = 1
  if retry then attempts = counters_of(retry) end
  -- Not pending, and never granted: the job was cancelled.
  if attempts == 0 then return CANCELLED, NOW_TEXT end
  local last_attempt, kind, ended = call('HGET', HISTORY, id .. '\0' .. attempts), nil, 0
  if last_attempt and #last_attempt > 6 then kind, ended = sub(last_attempt, 7, 7), struct.unpack('>I6', last_attempt) end
  -- Cancelled while it waited, after that attempt, or at the end of that attempt because it was asked for while the attempt ran. The attempts tell,
  -- not the instants: the server's clock may have been set back.
  local act, acted, state_before, acted_attempts = last_act(id)
  if act == 'c' and acted_attempts == attempts and (state_before ~= 'l' or not kind or CANCELLABLE_END[kind]) then
    return CANCELLED, string.format('%.0f', math.max(acted, ended))
  end
  if kind then return CONTAINER_AFTER[kind], string.format('%.0f', ended) end
end

local ids, entry_versions = {}, {}
for i = 4, #ARGV, 2 do ids[#ids + 1], entry_versions[#entry_versions + 1] = ARGV[i], ARGV[i + 1] end
local containers, retry_states = containers_of(ids, #CONTAINERS), {}
local put_back, damaged, front, history = {}, {}, {}, {}
begin_writes()
for k = 1, #ids do
  local id, entry_version = ids[k], entry_versions[k]
  local body = not containers[k] and call('HGET', JOB, id)
  if body then
    local retry = call('HGET', RETRY, id)
    local readable = #body >= HEADER and not (retry and #retry < RETRY_LEN)
    if not readable and entry_version == '' then
      damaged[#damaged + 1] = id
      add_ended(POISONED, { NOW_TEXT, id })
      retry_states[#retry_states + 1] = id
      retry_states[#retry_states + 1] = string.rep('\0', RETRY_LEN)
      history[#history + 1] = id .. '\0000'
      history[#history + 1] = NOW6 .. 'G'
    elseif readable and entry_version == (retry and sub(retry, 17, 22) or sub(body, 1, 6)) then
      local container, since = former_container(id, retry)
      if container then
        add_ended(container, { since, id })
      else
        front[#front + 1] = id
        front[#front + 1] = pack('>I4I4I4I4', counters_of(retry))
      end
      put_back[#put_back + 1] = id
    end
  end
end
put(HISTORY, histories_kept, history)
push('LPUSH', front, retry_states)
put(RETRY, retry_kept, retry_states)
count('garbage', #damaged)
return { 'ok', put_back, damaged }
