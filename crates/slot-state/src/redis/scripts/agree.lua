-- Fragment: the record is missing, damaged or older than what this gateway knows: it is brought up to date. Only for
-- scripts that run where Redis decides.
if state[1] ~= ARGV[1] or state[5] ~= 'redis' then
  redis.call('HSET', storage, 'epoch', ARGV[1], 'mode', 'redis')
end

