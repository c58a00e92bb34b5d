#!lua flags=allow-oom
-- with batch
-- Hold the shards of a batch, or let them go again. Calls that run are not cut. Items that are not their shards' any more
-- are held when they come up for a claim, and let go by let_go.lua.
--   KEYS  batch:{id}
--   ARGV  batch, paused (0|1)
--   returns {"over"} | {"done", id, epoch, queue, priority, ahead, …}: messages of the shards that go on
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "paused")
if b.status ~= "in_progress" then return {"over"} end
local send = {"done"}
if ARGV[2] == "1" then
  redis.call("HSET", batch, "paused", 1)
elseif b.paused then
  redis.call("HDEL", batch, "paused")
  redis.call("HSET", batch, "resumed_at", now)
end
for _, name in ipairs(redis.call("LRANGE", batch .. ":shards", 0, -1)) do
  local id = step_id(ARGV[1], name)
  local key = job_key(id)
  local s = fields_of(key, "status", "phase")
  if ARGV[2] == "1" and (s.status == "processing" or (s.status == "pending" and s.phase ~= "held")) then
    leave_lines(id, key)
    redis.call("HINCRBY", key, "epoch", 1)
    redis.call("HDEL", key, "worker", "until", "reason")
    redis.call("HSET", key, "status", "pending", "phase", "held")
    redis.call("ZREM", "tandem:due", id)
    if s.status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
  elseif ARGV[2] == "0" and s.status == "pending" and s.phase == "held" then
    for _, part in ipairs(enqueue(id, key, now)) do send[#send + 1] = part end
  end
end
return send
