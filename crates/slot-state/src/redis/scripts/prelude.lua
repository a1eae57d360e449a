-- Stands before every script: one clock, one storage record. What not every script needs is in fragments of its own,
-- since Redis makes each function anew at every call.
-- KEYS[1] appointease_storage. ARGV[1] the epoch to write under, ARGV[2] the gateway's name.
-- Every script answers { word, seq, born, ... }.
-- Numbers stay text where they can: turning one into text and back costs Redis as much as a command.
local storage, gateway = KEYS[1], ARGV[2]
local function int(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local micros = ('00000' .. time[2]):sub(-6)
local now_us, now_ms = time[1] .. micros, time[1] .. micros:sub(1, 3)

-- Anybody may write to the record: what is not a whole number that a double holds exactly counts as missing.
local function whole(value)
  local number = tonumber(value)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0 and number or nil
end

local state = redis.pcall('HMGET', storage, 'epoch', 'born', 'seq', 'fence', 'mode')
if state.err then
  redis.call('DEL', storage)
  state = { false, false, false, false, false }
end
local born, seen = state[2], state[3]

-- 'seen' is the number of the last script that changed something, 'seq' that of this one, if it does: rises always.
local seq = now_us
-- Of numbers with 16 digits the later is the greater as text too.
if not (born and seen and #seen == 16 and not seen:find('%D') and seen < now_us) then
  local last = whole(seen)
  -- The record is made anew where it is missing or its counter is damaged; 'born' tells every gateway to read all.
  if not born or not last then
    -- The counter starts above every number that was ever given, so that what is read now is newer.
    born, last = now_us, tonumber(now_us)
    redis.call('HSET', storage, 'born', born, 'seq', born)
  end
  seq, seen = int(math.max(last + 1, tonumber(now_us))), int(last)
end
local function refuse(word) return { word, seen, born } end
