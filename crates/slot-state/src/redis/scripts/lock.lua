-- KEYS: storage, active, lock, user, locks. ARGV[3..]: client, time, room suffix, lock prefix, ttl, most locks, fence.
-- With a fence, the lock was granted elsewhere and this is its copy: a gateway's lock with a lower fence is over, and
-- how many locks the client has was counted there.
local active, lock, user, locks = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local client, slot_time, slot, prefix, ttl = ARGV[3], ARGV[4], ARGV[5] .. ARGV[4], ARGV[6], ARGV[7]
local granted = tonumber(ARGV[9])

local locked = hold(lock)
local fence = locked and (whole(locked.fence) or 0)
local outdated = locked and granted and fence < granted
if locked and locked.client_id == client and not outdated then
  if fence == granted then redis.call('PEXPIRE', lock, ttl) end
  return { 'own_lock', seen, born, redis.call('PTTL', lock), fence }
end
if locked and not (outdated and (locked.gateway or locked.client_id == client)) then return refuse('slot_locked') end
local selected = hold(active)
if selected and selected.client_id ~= client then return refuse('slot_locked') end

if not granted then
  -- Locks that ended by themselves or by another writer's hand are still in the set.
  local count, members = 0, redis.pcall('SMEMBERS', locks)
  if members.err then redis.call('DEL', locks) members = {} end
  for _, member in ipairs(members) do
    local held = hold(prefix .. member)
    if held and held.client_id == client then count = count + 1 else redis.pcall('SREM', locks, member) end
  end
  if count >= tonumber(ARGV[8]) then return refuse('too_many_holds') end
end

local last = whole(state[4]) or 0
fence = granted or math.max(last + 1, tonumber(now_ms))
if selected then
  redis.call('DEL', active)
  if text(user) == slot_time then redis.call('DEL', user) end
end
write_lock(lock, locks, client, slot_time, slot, ttl, fence)
commit('lock', { slot }, nil, nil, math.max(last, fence))
return { 'ok', seq, born, tonumber(ttl), fence }
