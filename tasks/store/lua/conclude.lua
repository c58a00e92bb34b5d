#!lua flags=allow-oom
-- with batch
-- End a batch, if all of its items are over: by comparison, so whoever comes too early or twice does no harm.
--   KEYS  batch:{id}
--   ARGV  batch, has_last (1: a job is to be run over the results first), ttl_s, most shards to drop at once
--   returns {"gone"} | {"erase"} it is over, and is to be erased
--           | {"over"} it ended before | {"lapses", at (ms)} it did, and its records are to lapse then: let_lapse.lua
--           | {"open"} items are still to come | {"more"} shards are still to be dropped
--           | {"expire"} | {"cancel"} the rest is to be ended first
--           | {"last", id of the job over the results or ""} it is to be run, or has not ended yet
--           | {"end_last", its id} it is to be cancelled first | {"ended", status}
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "settled", "valid", "expires_at", "failed", "expired", "stop_at",
  "last_job", "lapses_at")
if not b.status then return {"gone"} end
local is_settled = BATCH_OVER[b.status] or tonumber(b.settled) >= tonumber(b.valid or math.huge)
if b.status ~= "validating" and is_settled and redis.call("HGET", batch, "erase") then
  return {drop_shards(ARGV[1], ARGV[4]) and "erase" or "more"}
end
if BATCH_OVER[b.status] and b.lapses_at then return {"lapses", b.lapses_at} end
if b.status ~= "in_progress" and b.status ~= "cancelling" and b.status ~= "finalizing" then return {"over"} end
if tonumber(b.settled) < tonumber(b.valid) then
  if b.status == "cancelling" then return {"cancel"} end
  if b.stop_at and tonumber(b.failed or 0) >= tonumber(b.stop_at) then return {"cancel"} end
  if tonumber(b.expires_at) <= now then return {"expire"} end
  return {"open"}
end
local last = b.last_job and redis.call("HGET", job_key(b.last_job), "status")
local last_goes_on = last == "pending" or last == "processing"
if last_goes_on and b.status == "cancelling" then return {"end_last", b.last_job} end
if ARGV[2] == "1" and b.status ~= "cancelling" then
  redis.call("HSET", batch, "status", "finalizing")
  if last_goes_on then return {"last", b.last_job} end
  if not b.last_job and tonumber(b.expires_at) > now then return {"last", ""} end
  if not b.last_job then
    redis.call("HSET", batch, "last_job", "", "last_error", cjson.encode({code = "deadline_exceeded",
      message = "the batch's deadline passed before the job over its results was begun"}))
  end
end
if not drop_shards(ARGV[1], ARGV[4]) then return {"more"} end
local status = "completed"
if b.status == "cancelling" then
  status = "cancelled"
elseif tonumber(b.expired or 0) > 0 then
  status = "expired"
elseif b.stop_at and tonumber(b.failed or 0) >= tonumber(b.stop_at) then
  status = "failed"
  redis.call("HSET", batch, "error_code", "too_many_failures", "error_message", b.failed .. " items failed")
end
redis.call("HSET", batch, "status", status, "finished_at", now, "lapses_at", now + ARGV[3] * 1000)
redis.call("HDEL", batch, "paused", "resume_from")
return {"ended", status}
