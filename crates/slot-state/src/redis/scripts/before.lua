-- Fragment: refuses what is only right before this epoch is in force.
if state[1] == ARGV[1] and state[5] == 'redis' then return { 'epoch', state[1], born, state[5] } end

