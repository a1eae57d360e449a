-- KEYS: storage, then active, lock, user of each. ARGV[3..]: user prefix, then of each: client, time, user suffix, ttl,
-- how a gateway's client chose it ('' if PHP wrote it), address. Where a slot is taken, the selection is not carried;
-- what a gateway wrote under an older epoch takes nothing.
local epoch = tonumber(ARGV[1])
for index = 1, (#KEYS - 1) / 3 do
  local active, lock, user = KEYS[index * 3 - 1], KEYS[index * 3], KEYS[index * 3 + 1]
  local at = index * 6 - 2
  local client, slot_time, ttl, chosen = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  local selected = hold(active)
  local taken = hold(lock)
  if selected and selected.client_id == client then
    -- It was selected or renewed here since, and may live longer for it.
    taken = taken or (selected.epoch == epoch and redis.call('PTTL', active) >= tonumber(ttl))
  elseif selected and not taken then
    taken = not selected.gateway or (whole(selected.epoch) or epoch) >= epoch
    local other = ARGV[3] .. selected.client_id .. ARGV[at + 2]
    if not taken and text(other) == slot_time then redis.call('DEL', other) end
  end
  -- Its client has chosen again here since.
  local named = text(user)
  if not taken and named and named ~= slot_time and named:find('^%d%d:%d%d$') then
    local newer = hold(active:sub(1, -6) .. named)
    taken = newer and newer.client_id == client and newer.epoch == epoch
  end
  if not taken and chosen == '' then
    redis.call('SET', active, '{"client_id":' .. quoted(client) .. ',"timestamp":' .. time[1]
      .. ',"time":"' .. slot_time .. '"}', 'PX', ttl)
    redis.call('SET', user, slot_time, 'PX', ttl)
  elseif not taken then
    write_selection(active, user, client, slot_time, ttl, chosen, ARGV[at + 5])
  end
end
return { 'ok', seen, born }
