#!lua flags=allow-oom
-- with batch
-- Hold the shards of a batch, or let them go again, some at a time. Calls that run are not cut. From the first piece on
-- nothing of it is claimed. A shard that a pause broken off did not come to is held when it is let go (leave_step.lua),
-- and what was not resumed is by let_go.lua, as are items that are not their shards' any more.
--   KEYS  batch:{id}
--   ARGV  batch, paused (0|1), from which shard on (a pause), most shards at once
--   returns {"over"} | {"done" or "more", id, epoch, queue, priority, ahead, …}: whether there are more shards, and messages of
--           those that go on
local batch, now, from, most = KEYS[1], now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4])
local b = fields_of(batch, "status", "paused")
if b.status ~= "in_progress" then return {"over"} end
if ARGV[2] == "0" then
  if b.paused then
    redis.call("HDEL", batch, "paused")
    redis.call("HSET", batch, "resumed_at", now, "resume_from", 0)
    redis.call("SADD", "tandem:limits", PAUSE_LINE .. ARGV[1])
  end
  local send = {"done"}
  if resume_some(ARGV[1], now, most, send) then send[1] = "more" end
  return send
end
-- It was let go meanwhile.
if from > 0 and not b.paused then return {"done"} end
redis.call("HSET", batch, "paused", 1)
redis.call("HDEL", batch, "resume_from")
local names = redis.call("LRANGE", batch .. ":shards", from, from + most - 1)
for _, name in ipairs(names) do
  local id = step_id(ARGV[1], name)
  local key = job_key(id)
  local s = fields_of(key, "status", "phase")
  if s.status == "processing" or (s.status == "pending" and s.phase ~= "held") then
    leave_lines(id, key)
    redis.call("HINCRBY", key, "epoch", 1)
    redis.call("HDEL", key, "worker", "until", "reason")
    redis.call("HSET", key, "status", "pending", "phase", "held")
    redis.call("ZREM", "tandem:due", id)
    if s.status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
  end
end
return {#names == most and "more" or "done"}
