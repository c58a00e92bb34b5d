#!lua flags=allow-oom
-- with batch
-- End a batch whose lines cannot be read: whoever reads them dies of it. Its items have been ended; what has no record yet
-- is counted as cancelled.
--   KEYS  batch:{id}
--   ARGV  batch, error code, message, ttl_s, most shards to drop at once
--   returns 1 it has ended, 0 it was not being read any more, 2 shards are still to be dropped
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "total", "invalid", "settled", "chunks")
if b.status ~= "validating" then return 0 end
-- Whoever still reads it adds no shards to what is left of them.
redis.call("HSET", batch, "giving_up", 1)
if not drop_shards(ARGV[1], ARGV[5]) then return 2 end
redis.call("HDEL", batch, "giving_up", "begun")
local valid = b.total - b.invalid
redis.call("UNLINK", batch .. ":names", batch .. ":loads")
for chunk = 0, b.chunks - 1 do drop_chunk(chunk_key(ARGV[1], chunk)) end
redis.call("HINCRBY", batch, "cancelled", valid - tonumber(b.settled or 0))
redis.call("HSET", batch, "status", "failed", "finished_at", now, "valid", valid, "settled", valid,
  "error_code", ARGV[2], "error_message", ARGV[3], "lapses_at", now + ARGV[4] * 1000)
return 1
