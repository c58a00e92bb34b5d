#!lua flags=allow-oom
-- with circuit
-- Move a job on to the next place where it may be answered, if the caller still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence, outcome, reason, more about the attempt (JSON), survived (0|1: its process came through), told (what
--         the call has shown of its circuit: circuit.lua)
--   returns {} not the owner any more, or there is no further place | {id, epoch, queue, priority, ahead}: its message
local key, id = KEYS[1], ARGV[1]
local places = places_of(key)
if not is_owned(key, ARGV[2]) or #places < 2 then return {} end
local now = now_ms()
tell_circuit(ARGV[7], call_of(id, ARGV[2]), now)
close_attempt(key, now, ARGV[3], ARGV[4], ARGV[5])
if ARGV[6] == "1" then redis.call("HDEL", key, "suspect") end
-- If all have retired the model, the claim there says so.
return move(id, key, now, places, next_place(places, now, true) or #places)
