#!lua flags=allow-oom
-- with rate
-- How a scope stands: what is used of its quota, what was learned, who waits. ("" where there is nothing to say.)
--   KEYS  (none: all are named by the scope)
--   ARGV  policy, scope
--   returns {name, value, …}, the fields of store/limits.py's Standing
local policy, scope, now = policy_of(ARGV[1]), ARGV[2], now_ms()
local s = look(policy, scope, now)
local said = fields_of(limit_key(scope), "learned_at", "refused", "asked")
local held = tonumber(s["until"] or 0)
return {
  "requests", tostring(s.used), "tokens", s.spent or "0", "day", tostring(s.day_used), "calls", tostring(s.calls),
  "waiting", tostring(redis.call("ZCARD", parked_key(scope))),
  "limit", s.limit < math.huge and tostring(s.limit) or "", "learned", s.learned or "",
  "learned_at", s.learned and said.learned_at or "", "held_until", held > now and string.format("%.0f", held) or "",
  "refused", said.refused or "0", "asked", said.asked or "0",
}
