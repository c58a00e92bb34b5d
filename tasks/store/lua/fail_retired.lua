#!lua flags=allow-oom
-- Fail the jobs that wait for a retired model, wherever they wait: in line, for a limit, for a moment. One step of a walk
-- over all unfinished jobs; those that come meanwhile are failed when they are claimed. Those that may go elsewhere are
-- left alone: claimed, they do. So are shards, whose items are failed, or go elsewhere, as they are claimed.
--   KEYS  due (zset)
--   ARGV  cursor ("0" to begin), how many to look at, queue, model, is_default (0|1: jobs that named none too), why, ttl_s
--   returns {cursor ("0" when through), how many were failed}
local found, failed, now = redis.call("ZSCAN", KEYS[1], ARGV[1], "COUNT", ARGV[2]), 0, now_ms()
for i = 1, #found[2], 2 do
  local id = found[2][i]
  local key = job_key(id)
  local j = fields_of(key, "status", "queue", "target", "routes", "step")
  local wants_it = j.target == ARGV[4] or (ARGV[5] == "1" and j.target == "")
  if j.status == "pending" and j.queue == ARGV[3] and wants_it and not (j.routes or j.step) then
    fail(id, key, now, "model_retired", ARGV[6], ARGV[7])
    failed = failed + 1
  end
end
return {found[1], failed}
