-- enqueue.lua: accept jobs.
-- Guarantee: a job is stored once per id, completely or not at all; an id that is taken is reported and left unchanged.
-- KEYS    see lib/queue.lua
-- ARGV    replay slot, sequence, channel (lib/replay.lua); then triples: id, when, envelope
--         when: '' now, 'd' delay ms(6), 'a' due at ms(6)
-- Reply   {'ok', now, one char per item: n new and pending, N new and delayed, else the state of the job that has
--         the id (lib/state.lua)} | {'superseded'} | {'other'}
local open, last = replay_open()
if open == 'superseded' or open == 'other' then return { open } end
if open == 'again' then return last end

local ids, n = {}, 0
for i = 4, #ARGV, 3 do n = n + 1; ids[n] = ARGV[i] end
if n == 0 then return replay_close({ 'ok', NOW, '' }) end
local taken = call('HMGET', JOB, unpack(ids))

local created, fresh, dues, seen, later = {}, {}, {}, {}, 0
for i = 1, n do
  local id = ids[i]
  if taken[i] then
    created[i] = state_of(id)
  elseif seen[id] then
    created[i] = seen[id]
  else
    local when, due = ARGV[2 + 3 * i], nil
    if when ~= '' then
      due = struct.unpack('>I6', when, 2)
      if byte(when, 1) == 100 then due = NOW + due end
      if due <= NOW then due = nil end
    end
    fresh[#fresh + 1] = i
    seen[id] = due and 'y' or 'p'
    if due then later = later + 1 end
    dues[i] = due
    created[i] = due and 'N' or 'n'
  end
end

local m = #fresh
if m > 0 then
  -- Type checks before the first write (lib/queue.lua).
  if later > 0 then call('ZCARD', DELAYED) end
  if later < m then call('LLEN', PENDING) end
  local base = draw('sequence', m)
  local jobs, pending, delayed, earliest = {}, {}, {}, math.huge
  for k = 1, m do
    local i = fresh[k]
    local id, due, entry_version = ids[i], dues[i], pack('>I6', base + k)
    jobs[2 * k - 1] = id
    jobs[2 * k] = entry_version .. NOW6 .. ARGV[3 + 3 * i]
    if due then
      delayed[#delayed + 1] = due
      delayed[#delayed + 1] = id
      if due < earliest then earliest = due end
    else
      pending[#pending + 1] = entry_version .. id
    end
  end
  each('HSET', JOB, jobs)
  if #pending > 0 then
    each('RPUSH', PENDING, pending)
    wake_claimers()
  end
  delay(delayed, earliest)
  count('enqueued', m)
end
return replay_close({ 'ok', NOW, table.concat(created) })
