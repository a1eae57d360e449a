-- KEYS: storage, active, lock, user. ARGV[3..]: client, time, room suffix, active prefix, lock prefix, ttl, chosen,
-- address, then the times of the client's other selections in the room as far as the gateway knows.
local active, user, client, slot_time, room = KEYS[2], KEYS[4], ARGV[3], ARGV[4], ARGV[5]

local locked = hold(KEYS[3])
if locked then return refuse(locked.client_id == client and 'own_lock' or 'slot_locked') end
local selected = hold(active)
if selected and selected.client_id ~= client then return refuse('slot_locked') end

-- PHP overwrites and leaves user keys behind: what they name is touched only if it is this client's.
local named = text(user)
if named and named:find('^%d%d:%d%d$') then ARGV[#ARGV + 1] = named end
local own = {}
for at = 11, #ARGV do
  local other = ARGV[at]
  if other ~= slot_time and not own[other] then
    local held = hold(ARGV[6] .. room .. other)
    if held and held.client_id == client then
      -- A poll may not know of a newer choice on another gateway; it ends none.
      if ARGV[9] == 'poll' and held.gateway and held.chosen ~= 'poll' then return refuse('slot_locked') end
      own[other], own[#own + 1] = true, other
    end
  end
end

local slots, look, reply = { room .. slot_time }, {}, { 'ok', seq, born, room .. slot_time }
for _, other in ipairs(own) do
  redis.call('DEL', ARGV[6] .. room .. other)
  if hold(ARGV[7] .. room .. other) then
    look[#look + 1] = room .. other
  else
    slots[#slots + 1], reply[#reply + 1] = room .. other, room .. other
  end
end
write_selection(active, user, client, slot_time, ARGV[8], ARGV[9], ARGV[10], selected and selected.taken)
commit('select', slots, look)
return reply
