-- KEYS: storage, active, lock, user, locks. ARGV[3..]: client, time, room suffix, lock prefix, ttl, most locks.
local active, lock, user, locks = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local client, slot_time, slot, prefix, ttl = ARGV[3], ARGV[4], ARGV[5] .. ARGV[4], ARGV[6], ARGV[7]

local locked = hold(lock)
if locked and locked.client_id == client then
  return { 'own_lock', seen, born, redis.call('PTTL', lock), whole(locked.fence) or 0 }
end
if locked then return refuse('slot_locked') end
local selected = hold(active)
if selected and selected.client_id ~= client then return refuse('slot_locked') end

-- Locks that ended by themselves or by another writer's hand are still in the set.
local count, members = 0, redis.pcall('SMEMBERS', locks)
if members.err then redis.call('DEL', locks) members = {} end
for _, member in ipairs(members) do
  local held = hold(prefix .. member)
  if held and held.client_id == client then count = count + 1 else redis.pcall('SREM', locks, member) end
end
if count >= tonumber(ARGV[8]) then return refuse('too_many_holds') end

local fence = math.max((whole(state[4]) or 0) + 1, tonumber(now_ms))
if selected then
  redis.call('DEL', active)
  if text(user) == slot_time then redis.call('DEL', user) end
end
redis.call('SET', lock, '{"client_id":' .. quoted(client) .. ',"timestamp":' .. time[1]
  .. ',"time":"' .. slot_time .. '","fence":' .. int(fence) .. ',"gateway":"' .. gateway
  .. '","taken":' .. now_ms .. ',"epoch":' .. ARGV[1] .. '}', 'PX', ttl)
redis.pcall('SADD', locks, slot)
redis.pcall('PEXPIRE', locks, ttl)
commit('lock', { slot }, nil, nil, fence)
return { 'ok', seq, born, tonumber(ttl), fence }
