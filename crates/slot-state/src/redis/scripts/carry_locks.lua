-- KEYS: storage, then active, lock, locks of each. ARGV[3..]: user prefix, then of each: client, time, room suffix, user
-- suffix, ttl, fence. A row in MySQL decides: what stands on the slot gives way, but for a newer lock's copy.
local epoch, last = tonumber(ARGV[1]), whole(state[4]) or 0
local highest = last
for index = 1, (#KEYS - 1) / 3 do
  local active, lock, locks = KEYS[index * 3 - 1], KEYS[index * 3], KEYS[index * 3 + 1]
  local at = index * 6 - 2
  local client, slot_time, fence = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 5])
  local locked = hold(lock)
  local copied = locked and locked.gateway and (whole(locked.fence) or 0) or -1
  if not (copied > fence or (copied == fence and locked.epoch == epoch)) then
    local selected = hold(active)
    if selected then
      redis.call('DEL', active)
      local user = ARGV[3] .. selected.client_id .. ARGV[at + 3]
      if text(user) == slot_time then redis.call('DEL', user) end
    end
    write_lock(lock, locks, client, slot_time, ARGV[at + 2] .. slot_time, ARGV[at + 4], fence)
    highest = math.max(highest, fence)
  end
end
if highest > last then redis.call('HSET', storage, 'fence', int(highest)) end
return { 'ok', seen, born }
