#!lua flags=allow-oom
-- Find jobs whose message was lost and line them up again. A queue is first in, first out, so a job that later ones
-- have overtaken for some seconds, or that waits while its queue is empty, has no message any more.
--   KEYS  lines (set of "queue priority")
--   ARGV  patience_ms, limit per line
--   returns {id, epoch, queue, priority, id, …}: the messages that are to be sent
local now, patience, send = now_ms(), tonumber(ARGV[1]), {}

local function message_of(id, waiting, is_lost)
  local key = job_key(id)
  local j = fields_of(key, "status", "phase", "queued_at", "queue", "priority")
  local names_line = j.queue and j.priority
  if j.status ~= "pending" or j.phase ~= "queued" or names_line and waiting_key(j.queue, j.priority) ~= waiting then
    redis.call("ZREM", waiting, id)  -- its record is gone: deleted by hand, or evicted; or it is in another line
  elseif is_lost(tonumber(j.queued_at) or 0) then
    if not names_line then redis.call("ZREM", waiting, id) end
    -- A new sequence: with its old one the job would stay overtaken and be sent again at every look.
    return enqueue(id, key, now)
  end
end

local function take(ids, waiting, is_lost)
  for _, id in ipairs(ids) do
    local message, went = alone(id, message_of, id, waiting, is_lost)
    if not went then redis.call("ZREM", waiting, id) end
    for _, part in ipairs(message or {}) do send[#send + 1] = part end
  end
end

for _, line in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  local queue, priority = line:match("^(%S+) (%S+)$")
  local flow, waiting = flow_key(queue, priority), waiting_key(queue, priority)
  local f = fields_of(flow, "watermark", "mark", "mark_at", "overtaken_below", "busy_at")
  if redis.call("LLEN", celery_key(queue, priority)) > 0 then
    f.busy_at = now
    redis.call("HSET", flow, "busy_at", now)
  elseif not f.busy_at then
    f.busy_at = now
    redis.call("HSET", flow, "busy_at", now)
  end
  if now - tonumber(f.mark_at or 0) >= patience then
    -- What had been reached at the last mark was reached at least `patience` ago.
    f.overtaken_below = f.mark or "0"
    redis.call("HSET", flow, "overtaken_below", f.overtaken_below, "mark", f.watermark or 0, "mark_at", now)
  end
  if now - tonumber(f.busy_at) > patience then
    take(redis.call("ZRANGE", waiting, 0, ARGV[2] - 1), waiting,
      function(queued_at) return queued_at + patience < now end)
  else
    take(redis.call("ZRANGEBYSCORE", waiting, "-inf", "(" .. (f.overtaken_below or "0"), "LIMIT", 0, ARGV[2]), waiting,
      function() return true end)
  end
end
return send
