#!lua flags=allow-oom
-- All items of a batch that have a record are over, and some have none: it was deleted by hand, or evicted. These are
-- counted as ended, or the batch never would.
--   KEYS  batch:{id}
--   ARGV  the round that was looked at, status (cancelled | expired)
--   returns how many were written off
local b = fields_of(KEYS[1], "status", "round", "settled", "valid")
if b.round ~= ARGV[1] or (b.status ~= "in_progress" and b.status ~= "cancelling") then return 0 end
local missing = b.valid - b.settled
if missing > 0 then
  redis.call("HINCRBY", KEYS[1], ARGV[2], missing)
  redis.call("HINCRBY", KEYS[1], "settled", missing)
  -- All that is kept for its items is for these.
  free_room(KEYS[1]:sub(#batch_key("") + 1))
end
return missing
