#!lua flags=allow-oom
-- Let the last step of a batch rest until it is wanted: an item that ended while it ran could not wake it.
--   KEYS  batch:{id}, job:{step id}
--   ARGV  step id, fence, the least delay_ms
--   returns 0 not the caller's any more, 1 it rests, 2 it is wanted at once
local now = now_ms()
if not is_owned(KEYS[2], ARGV[2]) then return 0 end
local b = fields_of(KEYS[1], "status", "settled", "valid", "expires_at", "failed", "stop_at", "last_job")
local last = b.last_job and redis.call("HGET", job_key(b.last_job), "status")
local waits_for_last = b.status ~= "cancelling" and (last == "pending" or last == "processing")
local wanted = b.status == "cancelling" or tonumber(b.settled) >= tonumber(b.valid)
  or (b.stop_at and tonumber(b.failed or 0) >= tonumber(b.stop_at))
if wanted and not waits_for_last and ARGV[3] == "0" then return 2 end
redis.call("HINCRBY", KEYS[2], "epoch", 1)
redis.call("HDEL", KEYS[2], "worker")
local until_ms = math.max(tonumber(b.expires_at), now + 1000)
if tonumber(ARGV[3]) > 0 then until_ms = now + tonumber(ARGV[3]) end
watch_step(ARGV[1], until_ms)
return 1
