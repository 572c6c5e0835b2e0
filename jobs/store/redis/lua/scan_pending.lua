-- scan_pending.lua: read the entry versions of the live entries in one page of `pending`. The pages go from the back to the front.
-- Guarantee: a caller that reads page after page sees every entry that was there at the first page and is still there at the
-- last, because a push to the back only moves entries into later pages, and a pop from the front moves none. If a job is in a sorted
-- set other than `lease` as well, a repair makes its entries stale.
-- KEYS    see lib/queue.lua
-- ARGV    1 entries behind this page, 2 most entries to scan, 3 '1' repair | '0'
-- Reply   {'ok', last sequence drawn, last other entry version drawn, entries scanned (0: there are no more), bytes of bodies read, entry versions of the live
--         entries, 6 bytes each, ids of jobs that are in a sorted set other than `lease` as well}
local behind, repair = tonumber(ARGV[1]), ARGV[3] == '1'
local entries_max = tonumber(ARGV[2])
check_all_types()
-- A counter that is missing will start from the clock (`draw` in lib/write.lua), so NOW stands for it below.
local drawn = call('HMGET', STATS, 'sequence', 'entry_versions')
local entries = call('LRANGE', PENDING, -(behind + entries_max), -(behind + 1))
local n, ids, entry_versions, in_two, retry_states, bytes = #entries, {}, {}, {}, {}, 0
-- From the back to the front, so that a page ends early at its front, where the next one begins.
local from_back = {}
for i = 1, n do from_back[i] = entries[n + 1 - i] end
entries = from_back
for i = 1, n do ids[i] = sub(entries[i], 7) end
n = last_readable(ids, 1, n, 0)
for i = n + 1, #ids do ids[i] = nil end
if n > 0 then
  local bodies, read_states = call('HMGET', JOB, unpack(ids)), call('HMGET', RETRY, unpack(ids))
  local containers = containers_of(ids, #CONTAINERS)
  for i = 1, n do
    local body, retry = bodies[i], read_states[i]
    if body and #entries[i] > 6 then
      bytes = bytes + #body
      -- A job that cannot be read counts as live: the claim that finds its entry poisons it.
      local readable = #body >= HEADER and not (retry and #retry < RETRY_LEN)
      if not readable or has_entry_version(entries[i], retry or body, retry and 17 or 1) then
        if readable and containers[i] and containers[i] > 1 then
          in_two[#in_two + 1] = ids[i]
          retry_states[#retry_states + 1] = ids[i]
          local attempts, failures, crashes, releases = counters_of(retry)
          if not retry and STATE_CODES[containers[i]] == 'c' then attempts = 1 end
          retry_states[#retry_states + 1] = pack('>I4I4I4I4', attempts, failures, crashes, releases) .. NO_VERSION
        else
          entry_versions[#entry_versions + 1] = sub(entries[i], 1, 6)
        end
      end
    end
  end
end
if repair then
  begin_writes()
  put(RETRY, retry_kept, retry_states)
end
return { 'ok', tonumber(drawn[1]) or NOW, tonumber(drawn[2]) or NOW, n, bytes, table.concat(entry_versions), in_two }
