#!lua flags=allow-oom
-- Erase the record of a job, cancelling it first if it is not over. That it was erased is remembered for a while, so
-- that whoever repeats the request (its answer was lost) gets the same answer.
--   KEYS  job:{id}, owner's list of jobs, erased:{id}
--   ARGV  id, owner, keep_s (how long it is remembered)
--   returns 0 no such job of this owner, 1 erased, now or before
local key, id = KEYS[1], ARGV[1]
local j = fields_of(key, "owner", "status")
if not j.owner and redis.call("GET", KEYS[3]) == ARGV[2] then return 1 end
if j.owner ~= ARGV[2] then return 0 end
if j.status == "processing" then cut_call(id, key, now_ms()) end
local flight = leave_lines(id, key)
redis.call("ZREM", "tandem:due", id)
redis.call("ZREM", KEYS[2], id)
redis.call("ZREM", KEYS[2] .. ":open", id)
redis.call("ZREM", KEYS[2] .. ":" .. (j.status or ""), id)
-- Its batch does not wait for it.
if j.status == "pending" or j.status == "processing" then
  free_answer(id, key)
  count_item(key, now_ms(), "cancelled")
end
redis.call("DEL", key)
redis.call("SET", KEYS[3], ARGV[2], "EX", ARGV[3])
if j.status == "processing" then redis.call("PUBLISH", "tandem:nudge", id) end
redis.call("PUBLISH", "tandem:settled", id)
if flight then end_flight(flight, id, "erased", now_ms()) end
return 1
