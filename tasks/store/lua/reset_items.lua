-- with batch
-- Put those of some items that ended without an answer back, for another round, and make the shards that carry them.
-- Applied once for each chunk of lines: done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  batch, chunk, step_keep_ms, priority, then id, id, …
--   returns how many were put back
local batch, chunk, now = KEYS[1], tonumber(ARGV[2]), now_ms()
local b = fields_of(batch, "status", "expanded", "expires_at", "round")
if b.status ~= "validating" or tonumber(b.expanded or 0) > chunk then return 0 end
local alike, nth, count = {}, 0, 0
for i = 5, #ARGV do
  local key = job_key(ARGV[i])
  local j = fields_of(key, "status", "queue", "target", "patience", "line")
  redis.call("PERSIST", key)
  if j.status == "failed" or j.status == "cancelled" or j.status == "expired" then
    redis.call("HDEL", key, "error_code", "error_message", "finished_at", "result", "usage", "lifted")
    redis.call("HSET", key, "status", "pending", "phase", "shard", "priority", ARGV[4], "tries", 0, "crashes", 0, "engine_losses", 0,
      "expires_at", b.expires_at)
    redis.call("HINCRBY", key, "epoch", 1)
    redis.call("HINCRBY", batch, j.status, -1)
    redis.call("HINCRBY", batch, "settled", -1)
    redis.call("ZREM", batch .. ":settled", j.line)
    local place = j.queue .. " " .. j.target .. " " .. (j.patience or "")
    alike[place] = alike[place] or {queue = j.queue, target = j.target, patience = j.patience, lines = {}}
    table.insert(alike[place].lines, tonumber(j.line))
    count = count + 1
  end
end
for _, s in pairs(alike) do
  local name = "r" .. b.round .. "-" .. chunk .. "-" .. nth
  nth = nth + 1
  new_step(ARGV[1], name, s.queue, ARGV[4], now, tonumber(ARGV[3]), "step", "shard",
    "request", cjson.encode({numbers = s.lines}), "target", s.target, unpack(s.patience and {"patience", s.patience} or {}))
  redis.call("RPUSH", batch .. ":shards", name)
end
redis.call("HSET", batch, "expanded", chunk + 1)
return count
