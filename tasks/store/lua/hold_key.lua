#!lua flags=allow-oom
-- with circuit
-- A provider has refused our key when it was asked about it: the provider is held for everybody.
--   KEYS  (none: all are named by the provider)
--   ARGV  why, open_ms, longest_ms, provider
--   returns 1 it is held now, 0 it was before
local name, now = KEY .. ARGV[4], now_ms()
local c = circuit_of(name, now)
if c.state ~= "closed" then return 0 end
open_circuit(name, c, now, tonumber(ARGV[2]), tonumber(ARGV[3]))
redis.call("HSET", circuit_key(name), "why", ARGV[1])
redis.call("EXPIRE", circuit_key(name), CIRCUIT_KEPT_S)
return 1
