#!lua flags=allow-oom
-- with circuit
-- Put a job back, if the caller still owns it: it waits for a moment, for a limit, or goes straight into line again.
--   KEYS  job:{id}
--   ARGV  id, fence, delay_ms (0 = at once), limit ("" = none), hold_ms (how long the limit holds everybody),
--         outcome, reason, charged (0|1), engine_lost (0|1), survived (0|1: its process came through, no suspect any more),
--         ttl_s, told (what the call has shown of its circuit: circuit.lua)
--   returns {} not the owner any more | {"waits"} | {"late"} the limit has no room before its deadline | {"queued", id, epoch, queue, priority, ahead}: its message is to be sent
local key, id, fence = KEYS[1], ARGV[1], ARGV[2]
if not is_owned(key, fence) then return {} end
local now, delay, limit = now_ms(), tonumber(ARGV[3]), ARGV[4]
tell_circuit(ARGV[12], call_of(id, fence), now)
if ARGV[12]:match("^failed ") or ARGV[12]:match("^away ") then redis.call("HSETNX", key, "failing_since", now) end
close_attempt(key, now, ARGV[6], ARGV[7], "")
redis.call("HINCRBY", key, "epoch", 1)
redis.call("HINCRBY", key, "tries", ARGV[8])
redis.call("HINCRBY", key, "engine_losses", ARGV[9])
redis.call("HDEL", key, "worker")
if ARGV[10] == "1" then redis.call("HDEL", key, "suspect") end
if limit ~= "" then
  local held = tonumber(redis.call("HGET", limit_key(limit), "until") or 0)
  local until_ms = math.max(now + tonumber(ARGV[5]), held)
  redis.call("HSET", limit_key(limit), "until", until_ms, "step", 1, "wake_at", 0)
  if until_ms >= tonumber(redis.call("HGET", key, "expires_at")) then
    fail_late(id, key, now, ARGV[11], limit)
    return {"late"}
  end
  park(id, key, now, limit, until_ms)
  -- Behind those who wait already: one that is refused each time (its model is out of room, not the key) would be the
  -- first to be let go after each hold, and nobody else ever.
  redis.call("ZADD", parked_key(limit), place_of(redis.call("HGET", key, "priority"), now), id)
  return {"waits"}
end
if delay > 0 then
  back_off(id, key, now, now + delay, ARGV[7], ARGV[8] == "0")
  return {"waits"}
end
return {"queued", unpack(enqueue(id, key, now, true))}
