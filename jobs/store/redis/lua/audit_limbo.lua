-- audit_limbo.lua: put jobs that are in no container back where they belong.
-- Guarantee: only a job that is in no sorted set and still has the entry version it was judged by is touched.
-- KEYS    see lib/queue.lua
-- ARGV    1, 2 not used, 3 wake-up channel; then pairs: id, entry version(6) or '' where the record cannot be read
-- Reply   {'ok', ids put back, ids set aside as damaged}
meet_all()
local HOME = { -- by what the last attempt's history tells (lib/settle.lua, lib/history.lua)
  C = COMPLETED, D = DEAD, A = DEAD, P = POISONED, G = POISONED, K = POISONED, N = POISONED, W = POISONED, X = CANCELLED,
}

-- Where a job was, and since when; nothing for one that was pending, or delayed.
local function home_of(id, p)
  if p and sub(p, 17, 22) ~= NO_VERSION then return end
  local attempts = 1
  if p then attempts = counters_of(p) end
  if attempts == 0 then return CANCELLED, NOW_TEXT end
  local told = call('HGET', HISTORY, id .. '\0' .. attempts)
  if told and #told > 6 then return HOME[sub(told, 7, 7)], string.format('%.0f', struct.unpack('>I6', told)) end
end

local ids, entry_versions = {}, {}
for i = 4, #ARGV, 2 do ids[#ids + 1], entry_versions[#entry_versions + 1] = ARGV[i], ARGV[i + 1] end
local places, pasts = places_of(ids, #PLACES), {}
local back, damaged, front, history = {}, {}, {}, {}
for k = 1, #ids do
  local id, entry_version = ids[k], entry_versions[k]
  local body = not places[k] and call('HGET', JOB, id)
  if body then
    local p = call('HGET', PAST, id)
    local readable = #body >= HEADER and not (p and #p < PAST_LEN)
    if not readable and entry_version == '' then
      damaged[#damaged + 1] = id
      call('ZADD', POISONED, NOW_TEXT, id)
      pasts[#pasts + 1] = id
      pasts[#pasts + 1] = string.rep('\0', PAST_LEN)
      history[#history + 1] = id .. '\0000'
      history[#history + 1] = NOW6 .. 'G'
    elseif readable and entry_version == (p and sub(p, 17, 22) or sub(body, 1, 6)) then
      local home, since = home_of(id, p)
      if home then
        call('ZADD', home, since, id)
      else
        front[#front + 1] = id
        front[#front + 1] = pack('>I4I4I4I4', counters_of(p))
      end
      back[#back + 1] = id
    end
  end
end
put(HISTORY, histories_kept, history)
push('LPUSH', front, pasts)
put(PAST, pasts_kept, pasts)
count('garbage', #damaged)
return { 'ok', back, damaged }
