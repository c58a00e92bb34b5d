-- Put those of some items that ended without an answer back, for another round, and keep what its shards are composed of.
-- Applied once for each piece of its items: done again it changes nothing.
--   KEYS  batch:{id}, its loads (list)
--   ARGV  batch, how many lines come before these, priority, loads (JSON: [text of each, …]), then id, id, …
--   returns how many were put back
local batch, before = KEYS[1], tonumber(ARGV[2])
local b = fields_of(batch, "status", "reset_lines", "expires_at")
if b.status ~= "validating" or tonumber(b.reset_lines or 0) > before then return 0 end
local count = 0
for i = 5, #ARGV do
  local key = job_key(ARGV[i])
  local j = fields_of(key, "status", "line")
  redis.call("PERSIST", key)
  if j.status == "failed" or j.status == "cancelled" or j.status == "expired" then
    redis.call("HDEL", key, "error_code", "error_message", "finished_at", "result", "usage", "lifted")
    redis.call("HSET", key, "status", "pending", "phase", "shard", "priority", ARGV[3], "tries", 0, "crashes", 0,
      "engine_losses", 0, "losses", 0, "expires_at", b.expires_at)
    redis.call("HINCRBY", key, "epoch", 1)
    keep_room(ARGV[i], key)
    redis.call("HINCRBY", batch, j.status, -1)
    redis.call("HINCRBY", batch, "settled", -1)
    redis.call("ZREM", batch .. ":settled", j.line)
    count = count + 1
  end
end
for _, text in ipairs(cjson.decode(ARGV[4])) do redis.call("RPUSH", KEYS[2], text) end
redis.call("HSET", batch, "reset_lines", before + #ARGV - 4)
return count
