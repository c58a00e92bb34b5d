-- with batch
-- Put those of some items that ended without an answer back, for another round, and make the shards that carry them.
-- Applied once for each chunk of lines: done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  batch, chunk, step_keep_ms, priority, then id, id, …
--   returns how many were put back
local batch, chunk, now = KEYS[1], tonumber(ARGV[2]), now_ms()
local b = fields_of(batch, "status", "expanded", "expires_at", "round")
if b.status ~= "validating" or tonumber(b.expanded or 0) > chunk then return 0 end
local by_queue, count = {}, 0
for i = 5, #ARGV do
  local key = job_key(ARGV[i])
  local j = fields_of(key, "status", "queue", "line")
  if j.status == "failed" or j.status == "cancelled" or j.status == "expired" then
    redis.call("HDEL", key, "error_code", "error_message", "finished_at", "result", "usage")
    redis.call("HSET", key, "status", "pending", "phase", "shard", "tries", 0, "crashes", 0, "engine_losses", 0,
      "expires_at", b.expires_at)
    redis.call("HINCRBY", key, "epoch", 1)
    redis.call("PERSIST", key)
    redis.call("HINCRBY", batch, j.status, -1)
    redis.call("HINCRBY", batch, "settled", -1)
    redis.call("ZREM", batch .. ":settled", j.line)
    by_queue[j.queue] = by_queue[j.queue] or {}
    table.insert(by_queue[j.queue], tonumber(j.line))
    count = count + 1
  end
end
for queue, lines in pairs(by_queue) do
  local name = "r" .. b.round .. "-" .. chunk .. "-" .. queue
  new_step(ARGV[1], name, queue, ARGV[4], now, tonumber(ARGV[3]), "step", "shard",
    "request", cjson.encode({numbers = lines}))
  redis.call("RPUSH", batch .. ":shards", name)
end
redis.call("HSET", batch, "expanded", chunk + 1)
return count
