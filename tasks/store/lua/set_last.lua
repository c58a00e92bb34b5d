#!lua flags=allow-oom
-- Say which job runs over a batch's results, or why none does, if it is still waited for. Done again it changes nothing.
--   KEYS  batch:{id}
--   ARGV  id of the job or "", what is wrong (JSON, null for nothing)
--   returns "set" | "late" the batch goes on without it | "gone" the batch is erased
local b = fields_of(KEYS[1], "status", "erase", "last_job")
if not b.status or b.erase then return "gone" end
if b.last_job == ARGV[1] then return "set" end
if b.status ~= "finalizing" or b.last_job then return "late" end
redis.call("HSET", KEYS[1], "last_job", ARGV[1], "last_error", ARGV[2])
return "set"
