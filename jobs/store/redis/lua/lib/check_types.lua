-- lib/check_types.lua: checks the types of the keys that hold jobs and what is kept about them (keys 1 to 8 and 11 to 13 of
-- lib/queue.lua), and notes how many members some hold (`lease_members` and `…_kept`, lib/queue.lua). A key of a wrong type stops the script here.

-- For scripts that are not called thousands of times per second. The others check only the keys they usually write, to save commands.
local function check_all_types()
  retry_kept = call('HLEN', RETRY)
  lease_members, grants_kept, histories_kept = call('ZCARD', LEASE), call('HLEN', GRANT), call('HLEN', HISTORY)
  completed_kept = call('ZCARD', COMPLETED)
  call('HLEN', JOB)
  call('LLEN', PENDING)
  for i = 4, 8 do call('ZCARD', KEYS[i]) end -- delayed to cancelled
end
