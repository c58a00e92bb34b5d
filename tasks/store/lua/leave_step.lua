#!lua flags=allow-oom
-- Let a step go, if the caller still owns it: it is over, or is to be looked at again. A shard of a paused batch is held.
--   KEYS  job:{step id}
--   ARGV  step id, fence, ttl_s, delay_ms (-1 = it is over, 0 = at once)
--   returns {} not the owner any more | {"over"} | {"waits"} | {"queued", id, epoch, queue, priority, ahead}: its message
local key, id, delay, now = KEYS[1], ARGV[1], tonumber(ARGV[4]), now_ms()
if not is_owned(key, ARGV[2]) then return {} end
local s = fields_of(key, "step", "batch_step")
-- A batch that was erased while its last step ended it: nobody else would look at it again.
if delay < 0 and s.step == "finish" and redis.call("HGET", batch_key(s.batch_step), "erase") then delay = 1 end
if delay < 0 then
  redis.call("HSET", key, "status", "completed", "phase", "")
  redis.call("ZREM", "tandem:due", id)
  -- Of a batch that was erased nothing is left.
  if redis.call("EXISTS", batch_key(s.batch_step)) == 1 then redis.call("EXPIRE", key, ARGV[3]) else redis.call("DEL", key) end
  return {"over"}
end
redis.call("HINCRBY", key, "epoch", 1)
redis.call("HDEL", key, "worker")
if s.step == "shard" and is_paused(s.batch_step) then
  redis.call("HSET", key, "status", "pending", "phase", "held")
  redis.call("ZREM", "tandem:due", id)
  return {"waits"}
end
if delay == 0 then return {"queued", unpack(enqueue(id, key, now, true))} end
watch_step(id, now + delay)
return {"waits"}
