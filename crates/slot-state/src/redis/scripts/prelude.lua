-- Stands before every script: one clock, one storage record, one way to read a hold.
-- KEYS[1] appointease_storage. ARGV[1] the epoch this gateway believes in, ARGV[2] the gateway's name.
-- Every script answers { word, seq, born, ... }; 'epoch' as the word refuses: a newer epoch is in force.
local storage, epoch, gateway = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local function int(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)

-- Anybody may write to the record: what is not a whole number that a double holds exactly counts as missing.
local function whole(value)
  local number = tonumber(value)
  return number and number >= 0 and number < 2 ^ 53 and number % 1 == 0 and number or nil
end

local state = redis.pcall('HMGET', storage, 'epoch', 'born', 'seq', 'fence')
if state.err then
  redis.call('DEL', storage)
  state = { false, false, false, false }
end
local known_epoch, born, last = whole(state[1]) or 0, state[2], whole(state[3])
if known_epoch > epoch then return { 'epoch', int(known_epoch), born or '' } end
-- The record is made anew where it is missing or its counter is damaged; 'born' tells every gateway to read all.
if not born or not last then
  -- The counter starts above every number that was ever given, so that what is read now is newer.
  born, last = int(now_us), now_us
  redis.call('HSET', storage, 'mode', 'redis', 'epoch', ARGV[1], 'born', born, 'seq', born)
elseif known_epoch < epoch then
  redis.call('HSET', storage, 'epoch', ARGV[1])
end

-- The sequence number of this script, if it changes something.
local seq, seen = math.max(last + 1, now_us), int(last)
-- Says what changed, after the writes: whoever reads this message has seen their notifications. 'slots' are those
-- whose whole state this script knows; 'look' those where a foreign hold of the other kind stands beside; 'clients'
-- whose selections were renewed, slot by slot.
local function commit(act, slots, look, clients)
  redis.call('HSET', storage, 'seq', int(seq))
  local change = { act = act, gateway = gateway, seq = int(seq), clients = clients }
  if #slots > 0 then change.slots = slots end
  if look and #look > 0 then change.look = look end
  -- Where this user may not publish, notifications are enough.
  redis.pcall('PUBLISH', 'appointease:changes', cjson.encode(change))
end

-- The text under a key: '' if there is none, nil if it is no text. A value larger than any hold is cut off (and so
-- is none): reading all of it would stop Redis for everybody.
local LARGEST = 4096
local function text(key)
  local raw = redis.pcall('GETRANGE', key, 0, LARGEST)
  return type(raw) == 'string' and raw or nil
end

-- The hold under a key; nil if there is none, or what is there is not a hold.
local function hold(key)
  local raw = text(key)
  if not raw or raw == '' or #raw > LARGEST then return nil end
  local ok, value = pcall(cjson.decode, raw)
  if not ok or type(value) ~= 'table' or type(value.client_id) ~= 'string' then return nil end
  -- What another writer put under these names is worth nothing unless it is text.
  if type(value.gateway) ~= 'string' then value.gateway = nil end
  if type(value.chosen) ~= 'string' then value.chosen = nil end
  if type(value.address) ~= 'string' then value.address = nil end
  return value
end

local function refuse(word) return { word, seen, born } end

-- Writes a selection. 'taken' is kept over renewals; 'epoch' says when it was last written.
local function write_selection(key, user_key, client, slot_time, ttl, chosen, address, taken)
  redis.call('SET', key, cjson.encode({
    client_id = client, timestamp = tonumber(time[1]), time = slot_time,
    gateway = gateway, chosen = chosen, address = address, taken = taken or now_ms, epoch = epoch,
  }), 'PX', ttl)
  redis.call('SET', user_key, slot_time, 'PX', ttl)
end
