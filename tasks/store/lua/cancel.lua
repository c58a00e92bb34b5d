#!lua flags=allow-oom
-- Cancel a job in whatever state it is. A running call loses its fence here and is told to stop.
--   KEYS  job:{id}
--   ARGV  id, owner, ttl_s
--   returns -1 no such job of this owner, 0 it was over already, 1 cancelled
local key, id = KEYS[1], ARGV[1]
local j = fields_of(key, "owner", "status")
if j.owner ~= ARGV[2] then return -1 end
if j.status ~= "pending" and j.status ~= "processing" then return 0 end
local now = now_ms()
close_attempt(key, now, "cancelled", "the client cancelled the job", "")
if j.status == "processing" then cut_call(id, key, now) end
redis.call("HINCRBY", key, "epoch", 1)
finish(id, key, now, "cancelled", ARGV[3])
if j.status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
return 1
