-- KEYS: storage, then active, lock of each slot. Answers for each key: nothing; '?' if what is there is not a hold;
-- else whose it is, remaining milliseconds, fence, how a gateway's client chose it ('' if no gateway wrote it), and
-- its address. 'hold' alone judges what a hold is. Looking at a key whose time has come makes Redis let go of it.
local values = {}
for at = 2, #KEYS do
  local held = hold(KEYS[at])
  if held then
    local chosen = held.gateway and (held.chosen == 'poll' and 'poll' or 'select') or ''
    values[at - 1] = {
      held.client_id, redis.call('PTTL', KEYS[at]), int(whole(held.fence) or 0), chosen, held.address or '',
    }
  else
    values[at - 1] = text(KEYS[at]) ~= '' and '?'
  end
end
return { 'ok', seen, born, values }
