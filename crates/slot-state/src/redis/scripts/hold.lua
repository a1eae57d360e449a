-- Fragment: reading what stands under the keys of holds.

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
