#!lua flags=allow-oom
-- with batch
-- Take a batch out of its owner's sight and have it erased: what runs is cut, and its last step erases the rest.
--   KEYS  batch:{id}, owner's list of batches, erased:{id}
--   ARGV  batch, owner, keep_s (how long it is remembered), step_keep_ms, queue, priority
--   returns 0 no such batch of this owner, 1 forgotten, now or before
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "owner", "status")
if b.owner ~= ARGV[2] then return redis.call("GET", KEYS[3]) == ARGV[2] and 1 or 0 end
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("SET", KEYS[3], ARGV[2], "EX", ARGV[3])
redis.call("HSET", batch, "owner", "", "erase", 1)
redis.call("PERSIST", batch)
if b.status == "validating" then
  stop_reading(ARGV[1], now)
  return 1
end
if b.status == "in_progress" or b.status == "finalizing" then redis.call("HSET", batch, "status", "cancelling") end
local key = new_step(ARGV[1], "finish", ARGV[5], ARGV[6], now, tonumber(ARGV[4]), "step", "finish")
redis.call("PERSIST", key)
if redis.call("HGET", key, "status") ~= "processing" then watch_step(step_id(ARGV[1], "finish"), now) end
return 1
