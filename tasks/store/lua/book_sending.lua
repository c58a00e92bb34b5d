#!lua flags=allow-oom
-- with rate
-- A call is sent only now, some time after it was claimed: it counts from now on, if there is room. It has kept its own for a
-- window; a hold, or others that came after that, may leave none.
--   KEYS  (none: all are named by the scopes)
--   ARGV  policy, call (id.epoch), since when it counts (ms), then the scopes
--   returns 1 it may be sent, 0 it may not
local policy, call, since, now = policy_of(ARGV[1]), ARGV[2], tonumber(ARGV[3]), now_ms()
local names = names_of(policy, table.concat({unpack(ARGV, 4)}, " "))
for _, name in ipairs(names) do
  local s = look(policy, name, now)
  -- It is over for the quotas: whoever makes it will find that the job is not its own any more.
  if not redis.call("ZSCORE", calls_key(name), call) then return 1 end
  if tonumber(s["until"] or 0) > now then return 0 end
  if not redis.call("ZSCORE", requests_key(name), call) then
    -- It is in flight itself, has its tokens, and is of the day already.
    s.calls, s.day_used = 0, s.day_used - 1
    local _, sure = room_at(policy, s, now, 0)
    if sure > now then return 0 end
  end
end
for _, name in ipairs(names) do
  count_from(policy, name, call, now)
  if days(policy, since) ~= days(policy, now) then count_day(policy, name, now, 1) end
end
return 1
