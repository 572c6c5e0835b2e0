-- job.lua: everything kept of one job.
-- Guarantee: reads only; everything is of one instant.
-- KEYS    see lib/queue.lua
-- ARGV    1 id
-- Reply   {'none'} | {'ok', now, state (lib/state.lua), body, score or '', attempts, failures, crashes, releases,
--         grant or '', history: N, value, N, value … oldest first}
local id = ARGV[1]
local body = call('HGET', JOB, id)
if not body then return { 'none' } end
local state = state_of(id)
local key = ({ l = LEASE, y = DELAYED, c = COMPLETED, d = DEAD, o = POISONED, x = CANCELLED })[state]
local score = key and call('ZSCORE', key, id) or ''
local p = call('HGET', PAST, id)
local attempts, failures, crashes, releases = counters_now(id, state, p)
local fields, history = {}, {}
-- An attempt that runs has not pushed any out yet; where its grant is missing, none is counted.
history_fields(fields, id, state == 'l' and math.max(0, attempts - 1) or attempts)
local values = call('HMGET', HISTORY, unpack(fields))
for i = 1, #fields do
  if values[i] then
    history[#history + 1] = sub(fields[i], #id + 2)
    history[#history + 1] = values[i]
  end
end
return {
  'ok', NOW, state, body, score, attempts, failures, crashes, releases, state == 'l' and call('HGET', GRANT, id) or '',
  history,
}
