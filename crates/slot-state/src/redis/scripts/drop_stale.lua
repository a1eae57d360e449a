-- KEYS: storage, then active, lock of each. ARGV[3..]: user prefix, then of each: time, user suffix, whose selection is
-- to stay ('' for nobody's), fence of the lock's row ('' if there is none). What PHP wrote stays.
for index = 1, (#KEYS - 1) / 2 do
  local active, lock = KEYS[index * 2], KEYS[index * 2 + 1]
  local at = index * 4
  local selected, locked, row = hold(active), hold(lock), tonumber(ARGV[at + 3])
  if selected and selected.gateway and selected.client_id ~= ARGV[at + 2] then
    redis.call('DEL', active)
    local user = ARGV[3] .. selected.client_id .. ARGV[at + 1]
    if text(user) == ARGV[at] then redis.call('DEL', user) end
  end
  if locked and locked.gateway then
    local fence = whole(locked.fence) or 0
    -- A row without a fence is PHP's, and none for a lock with one.
    local rowless = not row or (row == 0 and fence > 0)
    if rowless or fence < row then redis.call('DEL', lock) end
  end
end
return { 'ok', seen, born }
