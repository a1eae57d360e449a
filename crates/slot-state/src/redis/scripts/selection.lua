-- Fragment: writing a selection. 'taken' is kept over renewals; 'epoch' says when it was last written. What was read
-- from Redis may be anybody's: it is written again only if it is what we would write.
local function write_selection(key, user_key, client, slot_time, ttl, chosen, address, taken)
  taken = taken and whole(taken)
  redis.call('SET', key, '{"client_id":' .. quoted(client) .. ',"timestamp":' .. time[1]
    .. ',"time":"' .. slot_time .. '","gateway":"' .. gateway
    .. '","chosen":"' .. (chosen == 'poll' and 'poll' or 'select')
    .. '","address":' .. quoted(address or '')
    .. ',"taken":' .. (taken and int(taken) or now_ms) .. ',"epoch":' .. ARGV[1] .. '}', 'PX', ttl)
  redis.call('SET', user_key, slot_time, 'PX', ttl)
end
