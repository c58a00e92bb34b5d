-- with batch
-- Accept a batch whose lines are stored: its record, its idempotency key and the step that will expand it.
-- Refused by a full Redis (no allow-oom here): what cannot be kept is not accepted.
--   KEYS  batch:{id}, idempotency key ("" = none), owner's list of batches
--   ARGV  id, fingerprint, idempotency ttl_s, expires_in_ms, list_age_ms, step_keep_ms, queue, priority,
--         the step's message, then field, value, …
--   returns {"accepted", id} | {"replayed", id of the first} | {"mismatch"}
local id, idem = ARGV[1], KEYS[2]
if redis.call("EXISTS", KEYS[1]) == 1 then return {"accepted", id} end
if idem ~= "" then
  local first = fields_of(idem, "job", "fingerprint")
  if first.job and redis.call("EXISTS", batch_key(first.job)) == 1 then
    if first.fingerprint ~= ARGV[2] then return {"mismatch"} end
    return {"replayed", first.job}
  end
  redis.call("HSET", idem, "job", id, "fingerprint", ARGV[2])
  redis.call("EXPIRE", idem, ARGV[3])
end
local now = now_ms()
redis.call("HSET", KEYS[1], "status", "validating", "created_at", now, "expires_at", now + tonumber(ARGV[4]),
  "expires_in_ms", ARGV[4], "invalid", 0, "settled", 0, "round", 1, unpack(ARGV, 10))
-- Its lines wait for as long as it does: there may be nobody to read them for hours.
for chunk = 0, redis.call("HGET", KEYS[1], "chunks") - 1 do redis.call("PERSIST", KEYS[1] .. ":chunk:" .. chunk) end
redis.call("ZADD", KEYS[3], now_us(), id)
redis.call("ZREMRANGEBYSCORE", KEYS[3], "-inf", (now - tonumber(ARGV[5])) * 1000)
local key = new_step(id, "expand", ARGV[7], ARGV[8], now, tonumber(ARGV[6]), "step", "expand")
local _, _, queue, priority = unpack(enqueue(step_id(id, "expand"), key, now))
redis.pcall("LPUSH", celery_key(queue, priority), ARGV[9])
return {"accepted", id}
