#!lua flags=allow-oom
-- Erase the record of a job, cancelling it first if it is not over.
--   KEYS  job:{id}, owner's list of jobs
--   ARGV  id, owner
--   returns 0 no such job of this owner, 1 erased
local key, id = KEYS[1], ARGV[1]
local j = fields_of(key, "owner", "status")
if j.owner ~= ARGV[2] then return 0 end
leave_lines(id, key)
redis.call("ZREM", "tandem:due", id)
redis.call("ZREM", KEYS[2], id)
redis.call("DEL", key)
if j.status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
redis.call("PUBLISH", "tandem:settled", id)
return 1
