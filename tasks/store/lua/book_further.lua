#!lua flags=allow-oom
-- with rate
-- Book room for a further request of a call that is in flight: a long list of texts goes up in several. Without room now
-- it is booked all the same, from the moment when there will be: nobody overtakes it, and when that moment has come it
-- is asked for again, since a refusal may have put it off.
--   KEYS  (none: all are named by the scopes)
--   ARGV  policy, call (id.fence), its number (2, 3, …), then the scopes
--   returns ms until it may be sent (0 = now)
local policy, call, entry, now = policy_of(ARGV[1]), ARGV[2], ARGV[2] .. ".further" .. ARGV[3], now_ms()
local names, at = {unpack(ARGV, 4)}, now
for _, name in ipairs(names) do
  if redis.call("ZREM", requests_key(name), entry) == 0 then
    count_day(policy, name, now, 1)
    redis.call("HINCRBY", limit_key(name), "asked", 1)
  end
  local s = look(policy, name, now)
  -- The call itself is in flight, has its tokens, and this request is of the day already.
  s.calls, s.day_used = 0, s.day_used - 1
  local _, sure = room_at(policy, s, now, 0)
  at = math.max(at, sure)
end
for _, name in ipairs(names) do
  redis.call("ZADD", requests_key(name), at + policy.arrival + policy.window + SPARE, entry)
end
return at - now
