#!lua flags=allow-oom
-- with rate
-- A call that quotas counted is over: count what it really was, learn from a refusal, and let others go.
--   KEYS  (none: all are named by the scopes)
--   ARGV  policy, call (id.fence), begun_at (ms), sent_ms after that (-1 = not known), sends that count (0 = none),
--         tokens taken (-1 = not known), of them in the answer (0 = not known), how (answered|refused|failed),
--         hold_ms (how long a refusal holds everybody), the limit it holds, then the scopes
--   returns {ms until somebody is to be let go (-1 = nobody waits), id, epoch, queue, priority, ahead, …}: messages to be sent
local policy, call, begun_at, now = policy_of(ARGV[1]), ARGV[2], tonumber(ARGV[3]), now_ms()
local how, hold_until, held = ARGV[8], now + tonumber(ARGV[9]), ARGV[10]
local names = {unpack(ARGV, 11)}
local refused, answer = how == "refused", tonumber(ARGV[7])
local estimated = tonumber(redis.call("HGET", job_key(call:match("^(.*)%.")), "prompt_tokens") or 0)
local was_ours = over(policy, names, call, now, begun_at, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
if refused then hold(held, hold_until) end
local sent_at = begun_at + math.max(0, tonumber(ARGV[4]))
local again, send = -1, {}
for _, name in ipairs(names) do
  if policy.scopes[name] then
    local s = look(policy, name, now)
    if was_ours and refused and name == held then lower(policy, s, now, sent_at, hold_until) end
    if was_ours and how == "answered" then prove(s, answer, tonumber(ARGV[6]) - answer, estimated) end
    local at = give(policy, name, now, send)
    if at and (again < 0 or at - now < again) then again = math.max(at - now, 0) end
  end
end
return {again, unpack(send)}
