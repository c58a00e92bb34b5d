#!lua flags=allow-oom
-- with batch
-- Say that a batch is to be ended. Its last step does it, and makes sure that all of it ends.
--   KEYS  batch:{id}
--   ARGV  batch
--   returns {} it is over, or is being ended already | {id, epoch, queue, priority, ahead}: the message of that step
local batch, id, now = KEYS[1], step_id(ARGV[1], "finish"), now_ms()
local status = redis.call("HGET", batch, "status")
if status == "validating" then
  redis.call("HSET", batch, "cancelling_at", now)
  stop_reading(ARGV[1], now)
  return {}
end
if status ~= "in_progress" and status ~= "finalizing" then return {} end
redis.call("HSET", batch, "status", "cancelling", "cancelling_at", now)
if redis.call("HGET", job_key(id), "phase") == "backoff" then return enqueue(id, job_key(id), now) end
return {}
