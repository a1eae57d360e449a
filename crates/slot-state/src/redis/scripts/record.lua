-- KEYS: storage. ARGV[3..]: mode and epoch of a record, and the highest epoch that it replaces. Whichever store
-- decides. Refused with what stands there: { 'beaten', seq, born, epoch, mode }.
local known = whole(state[1]) or 0
if known > tonumber(ARGV[5]) then return { 'beaten', seen, born, int(known), state[5] or '' } end
redis.call('HSET', storage, 'mode', ARGV[3], 'epoch', ARGV[4])
return { 'ok', seen, born }
