#!lua flags=allow-oom
-- Line a pending job up again because its message was taken by somebody who will not run it.
--   KEYS  job:{id}
--   ARGV  id, epoch of the message
--   returns {} no longer pending at this epoch | {id, epoch, queue, priority, ahead}: its message is to be sent
local j = fields_of(KEYS[1], "status", "epoch", "phase")
if j.status ~= "pending" or j.phase ~= "queued" or j.epoch ~= ARGV[2] then return {} end
return enqueue(ARGV[1], KEYS[1], now_ms(), true)
