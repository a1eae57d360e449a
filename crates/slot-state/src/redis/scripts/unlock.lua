-- KEYS: storage, active, lock, locks. ARGV[3..]: client, slot suffix, the highest fence that is meant ('' for any). A lock
-- with a higher one came after what is given back.
local active, lock, locks = KEYS[2], KEYS[3], KEYS[4]
local locked, selected = hold(lock), hold(active)
local holder = locked or selected
if holder and holder.client_id ~= ARGV[3] then return refuse('not_owner') end
local newest = tonumber(ARGV[5])
if not locked or newest and (whole(locked.fence) or 0) > newest then return refuse('lock_lost') end
redis.call('DEL', lock)
-- The set may have been overwritten with another type; it serves only for counting.
redis.pcall('SREM', locks, ARGV[4])
commit('unlock', selected and {} or { ARGV[4] }, selected and { ARGV[4] })
return { selected and 'look' or 'ok', seq, born }
