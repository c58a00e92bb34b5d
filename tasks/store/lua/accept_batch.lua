-- with batch
-- Accept a batch whose lines are stored: its record, its idempotency key and the step that will expand it.
-- Refused by a full Redis (no allow-oom here): what cannot be kept is not accepted.
--   KEYS  batch:{id}, idempotency key ("" = none), owner's list of batches
--   ARGV  id, fingerprint, idempotency ttl_s, expires_in_ms, list_age_ms, step_keep_ms, queue, priority,
--         the step's message, then field, value, …
--   returns {"accepted", id} | {"replayed", id of the first} | {"mismatch"} | {"lost"} not all of its lines are there
local id, idem, chunks, total = ARGV[1], KEYS[2], 0, 0
for i = 10, #ARGV, 2 do
  if ARGV[i] == "chunks" then chunks = tonumber(ARGV[i + 1]) end
  if ARGV[i] == "total" then total = tonumber(ARGV[i + 1]) end
end
if redis.call("EXISTS", KEYS[1]) == 1 then return {"accepted", id} end
-- They lapse when an upload takes too long, and whoever gave up on this very request may have dropped them.
for chunk = 0, chunks - 1 do
  if redis.call("EXISTS", chunk_key(id, chunk)) == 0 then return {"lost"} end
end
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
for chunk = 0, chunks - 1 do redis.call("PERSIST", chunk_key(id, chunk)) end
redis.call("INCRBY", "tandem:unread", total)
redis.call("ZADD", KEYS[3], now_us(), id)
-- One that has been run again is there for longer than any other.
for _, old in ipairs(redis.call("ZRANGEBYSCORE", KEYS[3], "-inf", (now - tonumber(ARGV[5])) * 1000)) do
  if redis.call("EXISTS", batch_key(old)) == 0 then redis.call("ZREM", KEYS[3], old) end
end
local key = new_step(id, "expand", ARGV[7], ARGV[8], now, tonumber(ARGV[6]), "step", "expand")
local _, _, queue, priority = unpack(enqueue(step_id(id, "expand"), key, now))
redis.pcall("LPUSH", celery_key(queue, priority), ARGV[9])
return {"accepted", id}
