#!lua flags=allow-oom
-- with rate
-- Let jobs go that were parked behind a limit: with a quota as many as there is room for. Without one, after a hold,
-- one goes first, then two, four, …: ten thousand woken together would run into the same limit again.
--   KEYS  limits (set of names)
--   ARGV  step_ms between two groups, largest group, policy
--   returns {ms until somebody is to be let go (-1 = nobody waits), id, epoch, queue, priority, id, …}: messages to be sent
local now, policy, send = now_ms(), policy_of(ARGV[3]), {-1}

local function by_steps(limit)
  local key, parked = limit_key(limit), parked_key(limit)
  local l = fields_of(key, "until", "step", "wake_at")
  local wake_at = math.max(tonumber(l["until"] or 0), tonumber(l.wake_at or 0))
  if wake_at > now then return wake_at end
  local step = tonumber(l.step or 1)
  local ids = redis.call("ZRANGE", parked, 0, step - 1)
  for _, id in ipairs(ids) do
    redis.call("ZREM", parked, id)
    if redis.call("EXISTS", job_key(id)) == 1 then
      for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
    end
  end
  redis.call("HSET", key, "step", math.min(step * 2, tonumber(ARGV[2])), "wake_at", now + tonumber(ARGV[1]))
  if redis.call("ZCARD", parked) > 0 then return now + tonumber(ARGV[1]) end
  redis.call("SREM", KEYS[1], limit)
end

for _, limit in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  local at
  if policy.scopes[limit] then at = give(policy, limit, now, send) else at = by_steps(limit) end
  if at and (send[1] < 0 or at - now < send[1]) then send[1] = math.max(at - now, 0) end
end
return send
