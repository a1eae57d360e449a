-- KEYS: storage, active, lock, user. ARGV[3..]: client, time, room suffix, active prefix, lock prefix, ttl, chosen,
-- address, then the times of the client's other selections in the room as far as the gateway knows.
local active, lock, user = KEYS[2], KEYS[3], KEYS[4]
local client, slot_time, room, active_prefix, lock_prefix, ttl = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]

local locked = hold(lock)
if locked and locked.client_id == client then return refuse('own_lock') end
if locked then return refuse('slot_locked') end
local selected = hold(active)
if selected and selected.client_id ~= client then return refuse('slot_locked') end

-- PHP overwrites and leaves user keys behind: what they name is touched only if it is this client's.
local slots, look, ended = { room .. slot_time }, {}, {}
local function end_other(other)
  local key = active_prefix .. room .. other
  if other == slot_time or ended[other] then return end
  local held = hold(key)
  if held and held.client_id == client then
    redis.call('DEL', key)
    ended[other] = true
    local into = hold(lock_prefix .. room .. other) and look or slots
    into[#into + 1] = room .. other
  end
end
local named = text(user)
if named then end_other(named) end
for at = 11, #ARGV do end_other(ARGV[at]) end

write_selection(active, user, client, slot_time, ttl, ARGV[9], ARGV[10], selected and selected.taken)
commit('select', slots, look)
local reply = { 'ok', int(seq), born }
for _, slot in ipairs(slots) do reply[#reply + 1] = slot end
return reply
