#!lua flags=allow-oom
-- Claim a job for one attempt, if its message is still the right one.
--   KEYS  job:{id}
--   ARGV  id, epoch of the message, worker, lease_ms, may_isolate (0|1: a suspect may be run now), ttl_s,
--         then queue, provider, default model, queue, …: who answers which queue at this worker
--   returns {"gone"} not pending at this epoch: somebody else has it, or it is over
--           {"expired"} | {"retired"} its model is out of service: the job has failed
--           {"held"} parked behind a limit | {"later"} a suspect that found no place of its own
--           {"claimed", fence, n, tries, max_tries, crashes, engine_losses, suspect, left_ms,
--            kind, queue, target (the model's id at the provider), request}
local key, id, now = KEYS[1], ARGV[1], now_ms()
local j = fields_of(key, "status", "epoch", "expires_at", "suspect", "queue", "priority", "phase", "limit", "target")
if j.status ~= "pending" or j.epoch ~= ARGV[2] then return {"gone"} end
local provider, default_target
for i = 7, #ARGV, 3 do
  if ARGV[i] == j.queue then provider, default_target = ARGV[i + 1], ARGV[i + 2] end
end
if not provider then return {"gone"} end
local seq = redis.call("ZSCORE", waiting_key(j.queue, j.priority), id)
if seq then
  local flow = flow_key(j.queue, j.priority)
  if tonumber(seq) > tonumber(redis.call("HGET", flow, "watermark") or 0) then
    redis.call("HSET", flow, "watermark", seq)
  end
end
if tonumber(j.expires_at) <= now then
  expire(id, key, now, ARGV[6])
  return {"expired"}
end
local target = j.target ~= "" and j.target or default_target
local retired = redis.call("GET", retired_key(provider, target))
if retired then
  fail(id, key, now, "model_retired", retired, ARGV[6])
  return {"retired"}
end
leave_lines(id, key)
if j.suspect and ARGV[5] == "0" then
  back_off(id, key, now, now + 500, "isolation")
  return {"later"}
end
local held_until = tonumber(redis.call("HGET", limit_key(provider), "until") or 0)
if held_until > now then
  redis.call("HINCRBY", key, "epoch", 1)
  park(id, key, now, provider, held_until)
  return {"held"}
end
local fence = redis.call("HINCRBY", key, "epoch", 1)
local n = redis.call("HINCRBY", key, "n", 1)
redis.call("HSET", key, "status", "processing", "phase", "", "worker", ARGV[3])
redis.call("HSETNX", key, "started_at", now)
redis.call("HDEL", key, "until", "reason")
redis.call("ZADD", "tandem:due", now + tonumber(ARGV[4]), id)
local c = fields_of(key, "kind", "request", "tries", "max_tries", "crashes", "engine_losses")
open_attempt(key, now, {n = n, queue = j.queue, provider = provider, model = target, worker = ARGV[3]})
return {"claimed", tostring(fence), n, c.tries, c.max_tries, c.crashes, c.engine_losses, j.suspect or "0",
  tonumber(j.expires_at) - now, c.kind, j.queue, target, c.request}
