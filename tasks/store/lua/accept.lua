-- Accept a job: its record, its idempotency key and its watcher, and then its message, in one step.
-- Refused by a full Redis (no allow-oom here): what cannot be kept is not accepted.
--   KEYS  job:{id}, idempotency key ("" = none), owner's list of jobs, retired:{provider}:{model} ("" = none);
--         where its answer may be shared also answer:{question} ("" = it wants a new one) and flight:{flight}
--   ARGV  id, fingerprint, idempotency ttl_s, expires_in_ms, list_age_ms, its message ("" = the caller's to send), ttl_s,
--         then field, value, …
--   returns {"accepted", id, created_at, expires_at, the error that kept its message back or ""} | {"replayed", id of the first} | {"mismatch"}
--           {"retired", why}: the model is out of service
--           {"hit", id}: it has another's answer | {"following", id, then id, epoch, queue, priority, ahead of a leader in a
--           hurry now, if any: its message is to be sent}: it waits for another's
local id, fingerprint, idem = ARGV[1], ARGV[2], KEYS[2]
if redis.call("EXISTS", KEYS[1]) == 1 then
  -- The caller's first call was applied although its answer was lost.
  local j = fields_of(KEYS[1], "created_at", "expires_at", "cached", "phase")
  if j.cached then return {"hit", id} end
  if j.phase == "following" then return {"following", id} end
  return {"accepted", id, j.created_at, j.expires_at, ""}
end
if idem ~= "" then
  local first = fields_of(idem, "job", "fingerprint")
  if first.job and redis.call("EXISTS", job_key(first.job)) == 1 then
    if first.fingerprint ~= fingerprint then return {"mismatch"} end
    return {"replayed", first.job}
  end
end
local retired = KEYS[4] and KEYS[4] ~= "" and redis.call("GET", KEYS[4])
if retired then return {"retired", retired} end
if idem ~= "" then
  redis.call("HSET", idem, "job", id, "fingerprint", fingerprint)
  redis.call("EXPIRE", idem, ARGV[3])
end
local now = now_ms()
local expires_at = now + tonumber(ARGV[4])
redis.call("HSET", KEYS[1], "version", RECORD_VERSION, "epoch", 0, "tries", 0, "crashes", 0, "engine_losses", 0,
  "created_at", now, "expires_at", expires_at, unpack(ARGV, 8))
keep_room(id, KEYS[1])
-- In microseconds: a list has an order within one millisecond too.
local listed_at = now_us()
redis.call("ZADD", KEYS[3], listed_at, id)
redis.call("ZREMRANGEBYSCORE", KEYS[3], "-inf", (now - tonumber(ARGV[5])) * 1000)
list_open(KEYS[3], id, listed_at, tonumber(ARGV[5]))
if KEYS[6] then
  local flight = KEYS[6]:sub(#flight_key("") + 1)
  local how, messages = board(id, KEYS[1], now, KEYS[5], flight, ARGV[6], ARGV[7])
  if how then return {how, id, unpack(messages or {})} end
end
local _, _, queue, priority = unpack(enqueue(id, KEYS[1], now))
-- A message that is refused is a lost one: the job is accepted all the same, and found by the rule for those.
local sent = ARGV[6] == "" or redis.pcall("LPUSH", celery_key(queue, priority), ARGV[6])
return {"accepted", id, tostring(now), tostring(expires_at), type(sent) == "table" and sent.err or ""}
