#!lua flags=allow-oom
-- Claim a step of a batch, if its message is still the right one.
--   KEYS  job:{step id}
--   ARGV  step id, epoch of the message, worker, lease_ms
--   returns {} not pending at this epoch, or newer than this text
--           | {fence, batch, step, request (JSON or ""), queue, priority, suspect (0|1), crashes}
local key, id, now = KEYS[1], ARGV[1], now_ms()
local s = fields_of(key, "status", "epoch", "queue", "priority", "phase", "batch_step", "step", "request",
  "suspect", "crashes", "version", "expires_at")
if s.status ~= "pending" or s.epoch ~= ARGV[2] then return {} end
if not (s.queue and tonumber(s.priority) and tonumber(s.expires_at)) then
  mend(key, now)
  s.queue, s.priority = unpack(redis.call("HMGET", key, "queue", "priority"))
end
note_pop(id, s.queue, s.priority)
if is_newer(s.version) then
  leave_to_newer(id, key, now)
  return {}
end
leave_lines(id, key)
local fence = redis.call("HINCRBY", key, "epoch", 1)
redis.call("HSET", key, "status", "processing", "phase", "", "worker", ARGV[3])
redis.call("HDEL", key, "until", "reason")
redis.call("ZADD", "tandem:due", now + tonumber(ARGV[4]), id)
return {tostring(fence), s.batch_step or "", s.step or "", s.request or "", s.queue, s.priority, s.suspect or "0", s.crashes or "0"}
