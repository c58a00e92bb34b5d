#!lua flags=allow-oom
-- with batch
-- All lines of a batch have been read: let its shards go, or end it where its client wants all items or none.
-- Some shards at a time: until the last have gone the batch is being read, and `begun` says how many have. Whoever comes
-- next goes on there; done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  batch, step_keep_ms, queue and priority of the last step, accept (0 = reject it), share of failures that
--         stops it ("" = none), ttl_s, most shards at once
--   returns {"rejected"} | {"over"} | {"begun", step, epoch, queue, priority, ahead, …}: messages of its shards
--           | {"more", step, …}: the same, and more are to be let go, or dropped
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "total", "invalid", "expires_at", "cancel_wanted", "settled",
  "erase", "expanded", "chunks", "begun", "giving_up", "failed")
if b.status ~= "validating" or b.giving_up then return {b.status == "in_progress" and "begun" or "over"} end
local send, most = {"begun"}, tonumber(ARGV[8])
if ARGV[5] == "0" then
  if not drop_shards(ARGV[1], most) then return {"more"} end
elseif not b.cancel_wanted then
  local from = tonumber(b.begun or 0)
  for _, name in ipairs(redis.call("LRANGE", batch .. ":shards", from, from + most - 1)) do
    local id = step_id(ARGV[1], name)
    for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
  end
  if from + most < redis.call("LLEN", batch .. ":shards") then
    redis.call("HSET", batch, "begun", from + most)
    send[1] = "more"
    return send
  end
end
local valid = b.total - b.invalid
redis.call("HDEL", batch, "begun")
-- Not DEL: they are as large as the batch.
redis.call("UNLINK", batch .. ":names", batch .. ":loads")
-- Of one that is to be erased the rest is not read.
for chunk = b.erase and tonumber(b.expanded or 0) or tonumber(b.chunks), b.chunks - 1 do
  valid = valid - drop_chunk(chunk_key(ARGV[1], chunk))
end
if ARGV[5] == "0" then
  -- Some had an answer, or were run for somebody who asked the same: nothing is kept of it.
  redis.call("HSET", batch, "status", "failed", "finished_at", now, "valid", valid, "completed", 0, "failed", 0, "expired", 0,
    "cancelled", valid, "settled", valid, "error_code", "invalid_items",
    "error_message", b.invalid .. " of " .. b.total .. " items are not valid")
  redis.call("UNLINK", batch .. ":settled")
  forget_queued(ARGV[1])
  redis.call("HSET", batch, "lapses_at", now + ARGV[7] * 1000)
  return {"rejected"}
end
redis.call("HSET", batch, "status", b.cancel_wanted and "cancelling" or "in_progress", "in_progress_at", now, "valid", valid)
local stop_at = ARGV[6] ~= "" and math.floor(valid * tonumber(ARGV[6])) + 1
if stop_at then redis.call("HSET", batch, "stop_at", stop_at) end
redis.call("PERSIST", new_step(ARGV[1], "finish", ARGV[3], ARGV[4], now, tonumber(ARGV[2]), "step", "finish"))
-- What ended before could not wake it.
local is_wanted = b.cancel_wanted or tonumber(b.settled) >= valid or stop_at and tonumber(b.failed or 0) >= stop_at
watch_step(step_id(ARGV[1], "finish"), is_wanted and now or b.expires_at)
return send
