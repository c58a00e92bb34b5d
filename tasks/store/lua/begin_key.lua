#!lua flags=allow-oom
-- with circuit
-- A worker starts with a key. Another one than before ends the hold of its provider; with the same one somebody may ask at
-- once, for whoever starts a worker anew may have bought credit.
--   KEYS  (none: all are named by the provider)
--   ARGV  provider, fingerprint of the key
--   returns 1 a hold has ended, 0 there was none, or it goes on
local access, name, now = access_key(ARGV[1]), KEY .. ARGV[1], now_ms()
local held = circuit_key(name)
if redis.call("HGET", access, "key") ~= ARGV[2] then
  redis.call("DEL", access)
  redis.call("HSET", access, "key", ARGV[2])
  redis.call("SREM", "tandem:circuits", name)
  return redis.call("DEL", held)
end
if circuit_of(name, now).state == "open" then redis.call("HSET", held, "until", now) end
return 0
