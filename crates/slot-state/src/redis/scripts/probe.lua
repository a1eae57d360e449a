-- KEYS: storage, probe. ARGV[3]: a salt for hashed addresses, kept if there is one already. Proves that writes are
-- taken, whichever store decides; the probe key's own notification proves that events flow. Answers the salt, and
-- epoch (0 if there is none) and mode of the record.
redis.call('HSETNX', storage, 'salt', ARGV[3])
redis.call('SET', KEYS[2], now_us, 'PX', 10000)
return { 'ok', seen, born, redis.call('HGET', storage, 'salt'), int(whole(state[1]) or 0), state[5] or '' }
