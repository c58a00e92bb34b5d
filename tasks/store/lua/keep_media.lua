-- Keep an image, at least for a while. One that is there already is not written again; its time only grows.
-- Refused by a full Redis (no allow-oom here), as the job that comes with it would be.
--   KEYS  media:{sha256}
--   ARGV  the bytes, ttl_s
--   returns 1 written, 0 it was there
local written = redis.call("SET", KEYS[1], ARGV[1], "NX", "EX", ARGV[2])
if written then return 1 end
redis.call("EXPIRE", KEYS[1], ARGV[2], "GT")
return 0
