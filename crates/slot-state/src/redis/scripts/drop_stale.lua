-- KEYS: storage, then active, lock of each. ARGV[3..]: user prefix, then of each: time, user suffix, '1' to keep the
-- selection, fence of the lock's row ('' if there is none). What PHP wrote stays.
local epoch = tonumber(ARGV[1])
for index = 1, (#KEYS - 1) / 2 do
  local active, lock = KEYS[index * 2], KEYS[index * 2 + 1]
  local at = index * 4
  local selected, locked, row = hold(active), hold(lock), tonumber(ARGV[at + 3])
  if selected and selected.gateway and ARGV[at + 2] == '' and (whole(selected.epoch) or 0) < epoch then
    redis.call('DEL', active)
    local user = ARGV[3] .. selected.client_id .. ARGV[at + 1]
    if text(user) == ARGV[at] then redis.call('DEL', user) end
  end
  if locked and locked.gateway then
    local fence = whole(locked.fence) or 0
    -- A row without a fence is PHP's, and none for a lock with one.
    local rowless = not row or (row == 0 and fence > 0)
    -- Granted and copied since Redis decides under this epoch: its row may be younger than what the rows say.
    local granted_here = locked.epoch == epoch and not locked.carried
    if (rowless and not granted_here) or (row and fence < row) then redis.call('DEL', lock) end
  end
end
return { 'ok', seen, born }
