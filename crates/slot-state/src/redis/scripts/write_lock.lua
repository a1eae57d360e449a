-- Fragment: writing a lock.
local function write_lock(key, locks, client, slot_time, slot, ttl, fence)
  redis.call('SET', key, '{"client_id":' .. quoted(client) .. ',"timestamp":' .. time[1]
    .. ',"time":"' .. slot_time .. '","fence":' .. int(fence) .. ',"gateway":"' .. gateway
    .. '","taken":' .. now_ms .. ',"epoch":' .. ARGV[1] .. '}', 'PX', ttl)
  -- The set may have been overwritten with another type; it serves only for counting.
  redis.pcall('SADD', locks, slot)
  redis.pcall('PEXPIRE', locks, ttl)
end

