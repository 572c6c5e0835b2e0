-- lib/delay.lua: adds jobs to `delayed`.

-- Adds jobs, given as due time, id, due time, id …; `earliest` is the earliest of these due times. If it is before all others in
-- `delayed`, the retry schedulers get a hint.
local function add_delayed(due_and_id, earliest)
  if #due_and_id == 0 then return end
  local first = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  call_in_chunks('ZADD', DELAYED, due_and_id)
  if not first[2] or earliest < tonumber(first[2]) then redis.pcall('PUBLISH', HINT_CHANNEL, 'delayed') end
end
