-- KEYS: storage, then active, lock of each slot. Answers value and remaining milliseconds of each key.
-- Looking at a key whose time has come makes Redis let go of it.
local values = {}
for at = 2, #KEYS do
  local value = redis.pcall('GET', KEYS[at])
  if type(value) == 'string' then
    values[#values + 1] = value
    values[#values + 1] = redis.call('PTTL', KEYS[at])
  else
    values[#values + 1] = value and '?' or ''
    values[#values + 1] = -1
  end
end
return { 'ok', seen, born, values }
