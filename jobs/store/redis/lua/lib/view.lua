-- lib/view.lua: everything kept about one job, as a reply.

-- Returns {'none'} | {'ok', now, state (lib/state.lua), body, score in its sorted set or '', attempts, failures, crashes, releases,
-- grant or '', history: N, value, N, value … oldest first, acts (lib/acts.lua) or '', progress (lib/history.lua) or ''}.
local function view_of(id)
  local body = call('HGET', JOB, id)
  if not body then return { 'none' } end
  local state = state_of(id)
  local key = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
  local score = key and call('ZSCORE', key, id) or ''
  local retry = call('HGET', RETRY, id)
  local grant = state == 'l' and call('HGET', GRANT, id)
  local attempts, failures, crashes, releases = counters_now(state, retry, grant)
  local fields, history = {}, {}
  -- A running attempt has not evicted an earlier one yet (lib/history.lua). max, because `attempts` may be 0 if the grant is missing.
  history_fields(fields, id, state == 'l' and math.max(0, attempts - 1) or attempts)
  local attempts_read = #fields
  fields[attempts_read + 1], fields[attempts_read + 2] = id .. '\0a', id .. '\0p'
  local values = call('HMGET', HISTORY, unpack(fields))
  for i = 1, attempts_read do
    if values[i] then
      history[#history + 1] = sub(fields[i], #id + 2)
      history[#history + 1] = values[i]
    end
  end
  return {
    'ok', NOW, state, body, score, attempts, failures, crashes, releases, grant or '',
    history, values[attempts_read + 1] or '', values[attempts_read + 2] or '',
  }
end
