-- lib/delay.lua: jobs that wait for a due time.

-- Adds score, id pairs to `delayed`; when a job becomes the earliest, the retry schedulers get a hint.
local function delay(pairs_, earliest)
  if #pairs_ == 0 then return end
  local first = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  each('ZADD', DELAYED, pairs_)
  if not first[2] or earliest < tonumber(first[2]) then redis.pcall('PUBLISH', WAKE, 'delayed') end
end
