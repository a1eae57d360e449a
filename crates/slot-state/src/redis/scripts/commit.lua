-- Fragment: saying what changed. JSON is put together from text, as cjson.encode costs as much as a command.

local function list(texts) return '["' .. table.concat(texts, '","') .. '"]' end
-- A client's name as JSON. Those of our clients need no escapes.
local function quoted(name) return name:find('[^%w._:-]') and cjson.encode(name) or '"' .. name .. '"' end

-- After the writes: whoever reads this message has seen their notifications. 'slots' are those whose whole state this
-- script knows; 'look' those where a foreign hold of the other kind stands beside; 'clients' whose selections were
-- renewed, slot by slot and quoted; 'fence' the counter's new value, if it rose.
local function commit(act, slots, look, clients, fence)
  if fence then
    redis.call('HSET', storage, 'seq', seq, 'fence', int(fence))
  else
    redis.call('HSET', storage, 'seq', seq)
  end
  local change = '{"act":"' .. act .. '","gateway":"' .. gateway .. '","seq":"' .. seq .. '"'
  if slots[1] then change = change .. ',"slots":' .. list(slots) end
  if look and look[1] then change = change .. ',"look":' .. list(look) end
  if clients then change = change .. ',"clients":[' .. table.concat(clients, ',') .. ']' end
  -- Where this user may not publish, notifications are enough.
  redis.pcall('PUBLISH', 'appointease:changes', change .. '}')
end
