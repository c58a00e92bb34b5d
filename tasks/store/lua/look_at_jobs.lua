#!lua flags=no-writes
-- Say of some jobs what state they are in and how long their results are.
--   KEYS  none
--   ARGV  ids
--   returns {status ("" = there is no record), bytes of its result, status, …}
local said = {}
for _, id in ipairs(ARGV) do
  said[#said + 1] = redis.call("HGET", job_key(id), "status") or ""
  said[#said + 1] = redis.call("HSTRLEN", job_key(id), "result")
end
return said
