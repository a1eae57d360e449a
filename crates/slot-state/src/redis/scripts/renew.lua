-- KEYS: storage, then active, lock, user of each. ARGV[3..]: ttl, active prefix, then of each: client, time,
-- room suffix, '1' to put back, address. Answers a word each. What PHP wrote keeps PHP's TTL.
local ttl, prefix = ARGV[3], ARGV[4]
local words, kept, clients, changed = {}, {}, {}, {}
for index = 1, (#KEYS - 1) / 3 do
  local active, lock, user = KEYS[index * 3 - 1], KEYS[index * 3], KEYS[index * 3 + 1]
  local at = index * 5
  local client, slot_time, room, put_back, address = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local selected = hold(active)
  local named = text(user)
  local newer = named and named ~= '' and named ~= slot_time and hold(prefix .. room .. named)
  local word = 'lost'
  if selected and selected.client_id == client then
    if newer and newer.client_id == client then
      redis.call('DEL', active)
      word, changed[#changed + 1] = 'superseded', room .. slot_time
    elseif not selected.gateway then
      word = 'left'
    else
      if selected.gateway == gateway and selected.epoch == tonumber(ARGV[1]) then
        redis.call('PEXPIRE', active, ttl)
        redis.call('SET', user, slot_time, 'PX', ttl)
      else
        write_selection(active, user, client, slot_time, ttl, selected.chosen, selected.address, selected.taken)
      end
      word = 'kept'
      if not hold(lock) then
        kept[#kept + 1] = room .. slot_time
        clients[#clients + 1] = quoted(client)
      end
    end
  elseif not selected and not hold(lock) then
    if newer and newer.client_id == client then
      word = 'superseded'
    elseif put_back == '1' then
      write_selection(active, user, client, slot_time, ttl, 'select', address)
      word, changed[#changed + 1] = 'put_back', room .. slot_time
    end
  end
  words[index] = word
end
if #changed > 0 then commit('put_back', changed) end
if #kept > 0 then commit('renew', kept, nil, clients) end
return { 'ok', seq, born, words }
