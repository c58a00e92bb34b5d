-- with batch
-- Begin another round of a batch that is over: its step `retry` puts back what ended without an answer.
--   KEYS  batch:{id}
--   ARGV  batch, step_keep_ms, queue, priority, a word of this call's own
--   returns {"gone"} | {"busy", status} it is not over | {"nothing"} all items have their answer
--           | {"begun", id, epoch, queue, priority, ahead}: the message of the step; none when this very call had begun it
local batch, now = KEYS[1], now_ms()
local b = fields_of(batch, "status", "failed", "cancelled", "expired", "expires_in_ms", "error_code", "round_asked",
  "used total_tokens", "round")
if not b.status then return {"gone"} end
-- The caller's first call was applied although its answer was lost; the step's message is found to be lost, too.
if b.round_asked == ARGV[5] then return {"begun"} end
if not BATCH_OVER[b.status] then return {"busy", b.status} end
-- A batch that was rejected has no items.
-- One whose lines were not all read has not all of its items.
if b.error_code == "invalid_items" or (b.error_code == "quarantined" and b.round == "1") then return {"nothing"} end
if tonumber(b.failed or 0) + tonumber(b.cancelled or 0) + tonumber(b.expired or 0) == 0 then return {"nothing"} end
redis.call("HSET", batch, "status", "validating", "reset_lines", 0, "expires_at", now + tonumber(b.expires_in_ms),
  "round_asked", ARGV[5], "tokens_before", b["used total_tokens"] or 0)
redis.call("HDEL", batch, "finished_at", "in_progress_at", "error_code", "error_message", "cancelling_at", "last_job", "last_error",
  "stop_at", "paused", "cancel_wanted", "lapses_at", "reset")
for _, kept in ipairs({"", ":settled", ":invalid"}) do redis.call("PERSIST", batch .. kept) end
redis.call("DEL", batch .. ":shards")
local name = "retry-" .. redis.call("HINCRBY", batch, "round", 1)
local key = new_step(ARGV[1], name, ARGV[3], ARGV[4], now, tonumber(ARGV[2]), "step", "retry")
return {"begun", unpack(enqueue(step_id(ARGV[1], name), key, now))}
