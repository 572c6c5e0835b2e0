-- lib/delete_jobs.lua: deletion of jobs with everything kept about them.

-- The caller removes the jobs from their sorted sets; entries in `pending` stay and are stale. Takes at most 200 ids (BATCH_MAX in
-- jobs/limits.rs).
local function delete_jobs(ids)
  if #ids == 0 then return end
  local history, n, retry_states = {}, 0, {}
  if retry_kept > 0 then retry_states = call('HMGET', RETRY, unpack(ids)) end
  for i = 1, #ids do
    if retry_states[i] then
      local attempts = counters_of(retry_states[i])
      history_fields(history, ids[i], attempts)
      n = #history
    else
      -- A job without a retry state had one attempt at most.
      n = n + 1
      history[n] = ids[i] .. suffix_of(1)
    end
    history[n + 1] = ids[i] .. '\0a' -- lib/acts.lua
    history[n + 2] = ids[i] .. '\0p' -- lib/history.lua
    n = n + 2
  end
  call_in_chunks('HDEL', HISTORY, history)
  if retry_kept > 0 then call_in_chunks('HDEL', RETRY, ids) end
  call_in_chunks('HDEL', JOB, ids)
end
