-- KEYS: storage, then active, user of each. ARGV[3..]: ttl, then of each: client, slot suffix.
-- Only what this gateway was the last to renew: its client may be back on another one already.
local ttl, changed = tonumber(ARGV[3]), {}
for index = 1, (#KEYS - 1) / 2 do
  local active, user = KEYS[index * 2], KEYS[index * 2 + 1]
  local selected = hold(active)
  if selected and selected.client_id == ARGV[index * 2 + 2] and selected.gateway == gateway
    and redis.call('PTTL', active) > ttl then
    redis.call('PEXPIRE', active, ttl)
    redis.call('PEXPIRE', user, ttl)
    changed[#changed + 1] = ARGV[index * 2 + 3]
  end
end
if #changed > 0 then commit('shorten', changed) end
return { 'ok', seq, born }
