-- KEYS: storage, active, lock. ARGV[3..]: client or '', time, room suffix, user prefix, user suffix, address.
-- Without a client: releases what was selected from this address, and what PHP wrote (it names no gateway).
local active, lock = KEYS[2], KEYS[3]
local client, slot_time, slot = ARGV[3], ARGV[4], ARGV[5] .. ARGV[4]

local selected, locked = hold(active), hold(lock)
local mine = false
if selected and client ~= '' then
  mine = selected.client_id == client
elseif selected then
  mine = not selected.gateway or (ARGV[8] ~= '' and selected.address == ARGV[8])
end
if mine then
  redis.call('DEL', active)
  local user = ARGV[6] .. selected.client_id .. ARGV[7]
  if text(user) == slot_time then redis.call('DEL', user) end
  commit('deselect', locked and {} or { slot }, locked and { slot })
  return { locked and 'look' or 'ok', seq, born }
end
if not selected and not locked then return refuse('nothing') end
if locked and client ~= '' and locked.client_id == client then return refuse('own_lock') end
return refuse('not_owner')
