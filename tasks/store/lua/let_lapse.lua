#!lua flags=allow-oom
-- Let the records of some items of a batch that is over lapse when its own will; its own last, since whoever finds that goes
-- on here. Done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  when (ms, as conclude.lua said), is_last (1: these were all of them), then id, id, …
--   returns 0 a further round has begun, or it is gone; 1
local batch, at = KEYS[1], ARGV[1]
if redis.call("HGET", batch, "lapses_at") ~= at then return 0 end
local lapses_at = by_redis(at)
for i = 3, #ARGV do redis.call("PEXPIREAT", job_key(ARGV[i]), lapses_at) end
if ARGV[2] == "1" then
  local last = redis.call("HGET", batch, "last_job")
  if last then redis.call("PEXPIREAT", job_key(last), lapses_at) end
  redis.call("HDEL", batch, "lapses_at")
  for _, kept in ipairs({"", ":settled", ":invalid"}) do redis.call("PEXPIREAT", batch .. kept, lapses_at) end
end
return 1
