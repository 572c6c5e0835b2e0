-- audit_pending.lua: look at one page of pending, from its back, for the entries that count.
-- Guarantee: whoever reads page after page sees every entry that stays; what is pushed to the back moves entries away
-- from it and is seen by no later page, what is popped from the front moves none. Mends entries of jobs that ended.
-- KEYS    see lib/queue.lua
-- ARGV    1 entries behind this page, 2 entries to look at, 3 '1' mend | '0'
-- Reply   {'ok', last sequence drawn, last entry version drawn, entries looked at, bytes read, their entry versions, 6 bytes each,
--         ids of jobs that are in another container as well}
meet_all()
local behind, most, mend = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
-- A counter that is lost or damaged starts again from the clock (lib/queue.lua).
local drawn = call('HMGET', STATS, 'sequence', 'entry_versions')
local entries = call('LRANGE', PENDING, -(behind + most), -(behind + 1))
local n, ids, entry_versions, twice, pasts, bytes = #entries, {}, {}, {}, {}, 0
for i = 1, n do ids[i] = sub(entries[i], 7) end
if n > 0 then
  local bodies, before = call('HMGET', JOB, unpack(ids)), call('HMGET', PAST, unpack(ids))
  local places = places_of(ids, #PLACES)
  for i = 1, n do
    local body, p = bodies[i], before[i]
    if body and #entries[i] > 6 then
      bytes = bytes + #body
      -- What cannot be read is set aside by the claim that comes upon it.
      local readable = #body >= HEADER and not (p and #p < PAST_LEN)
      if not readable or live(entries[i], p or body, p and 17 or 1) then
        if readable and places[i] and places[i] > 1 then
          twice[#twice + 1] = ids[i]
          pasts[#pasts + 1] = ids[i]
          local attempts, failures, crashes, releases = counters_of(p)
          if not p and LETTERS[places[i]] == 'c' then attempts = 1 end
          pasts[#pasts + 1] = pack('>I4I4I4I4', attempts, failures, crashes, releases) .. NO_VERSION
        else
          entry_versions[#entry_versions + 1] = sub(entries[i], 1, 6)
        end
      end
    end
  end
end
if mend then put(PAST, pasts_kept, pasts) end
return { 'ok', tonumber(drawn[1]) or NOW, tonumber(drawn[2]) or NOW, n, bytes, table.concat(entry_versions), twice }
