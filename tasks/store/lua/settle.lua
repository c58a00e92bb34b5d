#!lua flags=allow-oom
-- Settle a job: write its result and its terminal state, if the caller still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence, status, ttl_s, outcome, reason, more about the attempt (JSON), then field, value, …
--   returns 1 settled, 0 not the owner any more (nothing was written)
local key, id = KEYS[1], ARGV[1]
if not is_owned(key, ARGV[2]) then return 0 end
local now = now_ms()
if #ARGV > 7 then redis.call("HSET", key, unpack(ARGV, 8)) end
close_attempt(key, now, ARGV[5], ARGV[6], ARGV[7])
finish(id, key, now, ARGV[3], ARGV[4])
return 1
