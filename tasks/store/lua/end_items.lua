#!lua flags=allow-oom
-- End those of some items that are not over yet. A running call loses its fence and is told to stop.
--   KEYS  (none)
--   ARGV  status (cancelled | expired), why, ttl_s, then id, id, …
--   returns how many were ended
local now, ended = now_ms(), 0
for i = 4, #ARGV do
  local id = ARGV[i]
  local key = job_key(id)
  local status = redis.call("HGET", key, "status")
  if status == "pending" or status == "processing" then
    close_attempt(key, now, ARGV[1], ARGV[2], "")
    if status == "processing" then cut_call(id, key, now) end
    redis.call("HINCRBY", key, "epoch", 1)
    if ARGV[1] == "expired" then
      redis.call("HSET", key, "error_code", "deadline_exceeded", "error_message", ARGV[2])
    end
    finish(id, key, now, ARGV[1], ARGV[3])
    if status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
    ended = ended + 1
  end
end
return ended
