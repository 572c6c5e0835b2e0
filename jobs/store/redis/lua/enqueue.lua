-- enqueue.lua: accept jobs.
-- Guarantee: a job is stored completely or not at all. If a job with the same id is kept already, the new one is not stored: the
-- kept one is left unchanged, and the reply has its state.
-- KEYS    see lib/queue.lua
-- ARGV    1 to 3 see lib/replay.lua; then triples: id, when, envelope
--         when is '' for now; the letter d, then a delay in ms(6); or the letter a, then the due time in ms(6). (6) is explained in lib/queue.lua
-- Reply   {'ok', now, one char per item: n new and pending, N new and delayed, else the state (lib/state.lua) of the job
--         that already has the id} | {'superseded'} | {'taken'} (lib/replay.lua)
-- `largest` (lib/queue.lua) starts anew in an empty queue once it is above this. Up to it a claim of 200 jobs need not look up the sizes of bodies.
local LARGEST_KEPT = math.floor(READ_BYTES_MAX / 200)
do
  local read = call('HMGET', STATS, 'idle_until', 'largest')
  IDLE_UNTIL, LARGEST = tonumber(read[1]) or 0, largest_of(read[2])
end
local status, stored_reply = replay_open()
if status == 'superseded' or status == 'taken' then return { status } end
if status == 'again' then return stored_reply end

local ids, n = {}, 0
for i = 4, #ARGV, 3 do n = n + 1; ids[n] = ARGV[i] end
if n == 0 then return replay_close({ 'ok', NOW, '' }) end
-- Which jobs are kept. One HMGET costs less than n HEXISTS, but reads the bodies too, so they must not be large.
local kept = {}
if n == 1 or (LARGEST and n * LARGEST <= READ_BYTES_MAX) then
  kept = call('HMGET', JOB, unpack(ids))
else
  for i = 1, n do kept[i] = call('HEXISTS', JOB, ids[i]) == 1 end
end

local results, new_items, due_times, new_states, later_count = {}, {}, {}, {}, 0
for i = 1, n do
  local id = ids[i]
  if kept[i] then
    results[i] = state_of(id)
  elseif new_states[id] then
    results[i] = new_states[id]
  else
    local when, due = ARGV[2 + 3 * i], nil
    if when ~= '' then
      due = struct.unpack('>I6', when, 2)
      if byte(when, 1) == 100 then due = NOW + due end -- d
      if due <= NOW then due = nil end
    end
    new_items[#new_items + 1] = i
    new_states[id] = due and 'y' or 'p'
    if due then later_count = later_count + 1 end
    due_times[i] = due
    results[i] = due and 'N' or 'n'
  end
end

local new_count = #new_items
if new_count > 0 then
  -- Type checks before the first write (lib/queue.lua).
  if later_count > 0 then call('ZCARD', DELAYED) end
  if later_count < new_count then call('LLEN', PENDING) end
  local base = draw('sequence', new_count)
  local jobs, pending, delayed, earliest, largest_envelope = {}, {}, {}, math.huge, 0
  for k = 1, new_count do
    local i = new_items[k]
    local id, due, entry_version = ids[i], due_times[i], pack('>I6', base + k)
    jobs[2 * k - 1] = id
    local envelope = ARGV[3 + 3 * i]
    jobs[2 * k] = entry_version .. NOW6 .. envelope
    if #envelope > largest_envelope then largest_envelope = #envelope end
    if due then
      delayed[#delayed + 1] = due
      delayed[#delayed + 1] = id
      if due < earliest then earliest = due end
    else
      pending[#pending + 1] = entry_version .. id
    end
  end
  -- `largest` is raised before the bodies are stored. If it is not known, because `stats` was lost, it stays so until the queue is empty.
  local largest = largest_envelope + HEADER
  if (not LARGEST or LARGEST > LARGEST_KEPT) and call('HLEN', JOB) == 0 then
    call('HSET', STATS, 'largest', largest)
  elseif LARGEST and largest > LARGEST then
    call('HSET', STATS, 'largest', largest)
  end
  call_in_chunks('HSET', JOB, jobs)
  if #pending > 0 then
    call_in_chunks('RPUSH', PENDING, pending)
    hint_claimable()
  end
  add_delayed(delayed, earliest)
  count('enqueued', new_count)
end
return replay_close({ 'ok', NOW, table.concat(results) })
