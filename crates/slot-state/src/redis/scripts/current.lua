-- Fragment: refuses where the record says that another store decides, or that a newer epoch is in force:
-- { 'epoch', the record's epoch, born, its mode }. At equal epochs MySQL is right.
if state[1] ~= ARGV[1] or state[5] ~= 'redis' then
  local known, epoch = whole(state[1]) or 0, tonumber(ARGV[1])
  if known > epoch or (known == epoch and state[5] == 'mysql') then
    return { 'epoch', int(known), born, state[5] or '' }
  end
end

