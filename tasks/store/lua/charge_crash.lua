#!lua flags=allow-oom
-- Charge a job with the death of the process that ran it alone; after `limit` such deaths it is quarantined.
--   KEYS  job:{id}
--   ARGV  id, fence, limit, ttl_s, reason
--   returns {} not the owner any more | {"quarantined"} | {"queued", id, epoch, queue, priority, ahead}
local key, id = KEYS[1], ARGV[1]
if not is_owned(key, ARGV[2]) then return {} end
local now = now_ms()
close_attempt(key, now, "crashed", ARGV[5], "")
if redis.call("HINCRBY", key, "crashes", 1) >= tonumber(ARGV[3]) then
  redis.call("HSET", key, "error_code", "quarantined",
    "error_message", "the process that ran this job alone died of it " .. ARGV[3] .. " times")
  finish(id, key, now, "failed", ARGV[4])
  return {"quarantined"}
end
redis.call("HINCRBY", key, "epoch", 1)
redis.call("HDEL", key, "worker")
redis.call("HSET", key, "suspect", 1)
return {"queued", unpack(enqueue(id, key, now, true))}
