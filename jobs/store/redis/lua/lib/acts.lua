-- lib/acts.lua: what operators did to jobs. The acts of a job are the field id\0a of `history`; a job that no operator acted on has none.
-- Value   dropped(4): how many older acts are not kept; then the acts, oldest first, each of them:
--         at(6) kind(1) state before(1) attempts(4) length of the name(1) name of the operator
-- kind    r redriven, or a delayed job made pending
--         c cancelled, or the cancellation of a running job requested
local ACTS_MAX = 5 -- most acts kept of a job
local ACT_HEAD = 13 -- bytes of an act before the name

-- A value with one more act at its end. A value that was edited by hand and cannot be read begins anew.
local function with_act(value, act)
  local dropped, starts, at = 0, {}, 5
  if value and #value >= 4 then
    dropped = struct.unpack('>I4', value)
    while at + ACT_HEAD - 1 <= #value do
      starts[#starts + 1] = at
      at = at + ACT_HEAD + byte(value, at + ACT_HEAD - 1)
    end
  end
  if not value or at ~= #value + 1 then value, starts = '', {} end
  local surplus = math.max(0, #starts + 1 - ACTS_MAX)
  return pack('>I4', dropped + surplus) .. sub(value, starts[1 + surplus] or #value + 1) .. act
end

-- The last act on a job: its kind, its instant, the state before it and the attempts. nil if there is none, or it cannot be read.
local function last_act(id)
  local value, at, start = call('HGET', HISTORY, id .. '\0a'), 5, nil
  while value and at + ACT_HEAD - 1 <= #value do
    start = at
    at = at + ACT_HEAD + byte(value, at + ACT_HEAD - 1)
  end
  if not start or at ~= #value + 1 then return nil end
  return sub(value, start + 6, start + 6), struct.unpack('>I6', value, start), sub(value, start + 7, start + 7), (struct.unpack('>I4', value, start + 8))
end

-- The fields and values that record this act of one operator on each of these jobs. `acted` is a list of id, state before, attempts.
local function acts_after(kind, by, acted)
  local fields, written, n = {}, {}, #acted / 3
  if n == 0 then return written end
  for k = 1, n do fields[k] = acted[3 * k - 2] .. '\0a' end
  local values = call('HMGET', HISTORY, unpack(fields))
  for k = 1, n do
    local head = NOW6 .. kind .. acted[3 * k - 1] .. pack('>I4', acted[3 * k]) .. string.char(#by)
    written[2 * k - 1], written[2 * k] = fields[k], with_act(values[k], head .. by)
  end
  return written
end
