-- KEYS: storage, active, lock, availability. ARGV[3..]: time, slot suffix, user prefix, user suffix, locks prefix.
-- The slot is booked: whoever holds it, holds it no longer. Other gateways hear of it and look what is booked.
local active, lock = KEYS[2], KEYS[3]
local selected, locked = hold(active), hold(lock)
-- Before the notifications of what goes: who hears of it is to know by then that nobody gave it up.
commit('book', { ARGV[4] })
redis.call('DEL', active, lock, KEYS[4])
if selected then
  local user = ARGV[5] .. selected.client_id .. ARGV[6]
  if text(user) == ARGV[3] then redis.call('DEL', user) end
end
-- The set may have been overwritten with another type; it serves only for counting.
if locked then redis.pcall('SREM', ARGV[7] .. locked.client_id, ARGV[4]) end
return { 'ok', seq, born }
