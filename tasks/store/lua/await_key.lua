#!lua flags=allow-oom
-- with circuit
-- A job's provider has refused our key: the provider is held for everybody, and the job waits, uncharged, if the caller
-- still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence (epoch and worker), reason, told (what the call has shown of the key: circuit.lua)
--   returns {} not the owner any more | {"waits"} | {"of_model"} others are answered under the key: nothing was written
local key, id, call, now = KEYS[1], ARGV[1], call_of(ARGV[1], ARGV[2]), now_ms()
if not is_owned(key, ARGV[2]) then return {} end
if not tell_circuit(ARGV[4], call, now) then return {"of_model"} end
local name = KEY .. ARGV[4]:match("^refused %S+ %d+ %d+ (%S+)")
close_attempt(key, now, "key_refused", ARGV[3], "")
redis.call("HINCRBY", key, "epoch", 1)
redis.call("HDEL", key, "worker", "suspect")
-- Behind those who wait already: should it be refused for its own sake, the next to ask is another.
park(id, key, now, CIRCUIT_LINE .. name, tonumber(circuit_of(name, now)["until"] or now), "key_refused", now)
return {"waits"}
