#!lua flags=allow-oom
-- with batch
-- All lines of a batch have been read: let its shards go, or end it where its client wants all items or none.
-- Done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  batch, step_keep_ms, queue and priority of the last step, accept (0 = reject it), share of failures that
--         stops it ("" = none), ttl_s
--   returns {"rejected"} | {"over"} | {"begun", step, epoch, queue, priority, ahead, …}: messages of its shards
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "total", "invalid", "expires_at", "cancel_wanted", "settled",
  "erase", "expanded", "chunks")
if b.status ~= "validating" then return {b.status == "in_progress" and "begun" or "over"} end
local valid = b.total - b.invalid
redis.call("DEL", batch .. ":names", batch .. ":loads")
-- Of one that is to be erased the rest is not read.
for chunk = b.erase and tonumber(b.expanded or 0) or tonumber(b.chunks), b.chunks - 1 do
  valid = valid - drop_chunk(chunk_key(ARGV[1], chunk))
end
if ARGV[5] == "0" then
  -- Some had an answer, or were run for somebody who asked the same: nothing is kept of it.
  redis.call("HSET", batch, "status", "failed", "finished_at", now, "valid", valid, "completed", 0, "failed", 0, "expired", 0,
    "cancelled", valid, "settled", valid, "error_code", "invalid_items",
    "error_message", b.invalid .. " of " .. b.total .. " items are not valid")
  redis.call("DEL", batch .. ":settled")
  drop_shards(ARGV[1])
  forget_queued(ARGV[1])
  redis.call("HSET", batch, "lapses_at", now + ARGV[7] * 1000)
  return {"rejected"}
end
redis.call("HSET", batch, "status", b.cancel_wanted and "cancelling" or "in_progress", "in_progress_at", now, "valid", valid)
if ARGV[6] ~= "" then redis.call("HSET", batch, "stop_at", math.floor(valid * tonumber(ARGV[6])) + 1) end
redis.call("PERSIST", new_step(ARGV[1], "finish", ARGV[3], ARGV[4], now, tonumber(ARGV[2]), "step", "finish"))
watch_step(step_id(ARGV[1], "finish"), tonumber(b.settled) < valid and not b.cancel_wanted and b.expires_at or now)
local send = {"begun"}
if b.cancel_wanted then return send end
for _, name in ipairs(redis.call("LRANGE", batch .. ":shards", 0, -1)) do
  local id = step_id(ARGV[1], name)
  for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
end
return send
