#!lua flags=allow-oom
-- Let jobs go that were parked behind a limit. After a hold one goes first, then two, four, …: ten thousand woken
-- together would run into the same limit again.
--   KEYS  limits (set of names)
--   ARGV  step_ms between two groups, largest group
--   returns {id, epoch, queue, priority, id, …}: the messages that are to be sent
local now, send = now_ms(), {}
for _, limit in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  local key, parked = limit_key(limit), parked_key(limit)
  local l = fields_of(key, "until", "step", "wake_at")
  if tonumber(l["until"] or 0) <= now and tonumber(l.wake_at or 0) <= now then
    local step = tonumber(l.step or 1)
    local ids = redis.call("ZRANGE", parked, 0, step - 1)
    for _, id in ipairs(ids) do
      redis.call("ZREM", parked, id)
      if redis.call("EXISTS", job_key(id)) == 1 then
        for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
      end
    end
    redis.call("HSET", key, "step", math.min(step * 2, tonumber(ARGV[2])), "wake_at", now + tonumber(ARGV[1]))
    if redis.call("ZCARD", parked) == 0 then redis.call("SREM", KEYS[1], limit) end
  end
end
return send
