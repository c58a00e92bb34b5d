#!lua flags=allow-oom
-- Find jobs whose message was lost and line them up again. A queue is first in, first out, so a job that later ones
-- have overtaken for some seconds, or that waits while its queue is empty, has no message any more.
-- One look at all lines takes several steps where much was lost; between two looks nobody looks.
--   KEYS  lines (set of "queue priority")
--   ARGV  patience_ms, jobs per step, ms between two looks, step of this look (1, 2, …)
--   returns {whether the next step is to follow (0|1), id, epoch, queue, priority, ahead, id, …}: the messages that are
--   to be sent after the last step
local now, patience, left, send = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2]), {0}

local looked_at = tonumber(redis.call("HGET", "tandem:sweep", "looked_at") or 0)
if ARGV[4] == "1" then
  if now >= looked_at and now - looked_at < tonumber(ARGV[3]) then return send end
  looked_at = now
  redis.call("HSET", "tandem:sweep", "looked_at", now)
end

local function message_of(id, waiting, ahead)
  local key = job_key(id)
  local j = fields_of(key, "status", "phase", "queued_at", "queue", "priority")
  local names_line = j.queue and j.priority
  if j.status ~= "pending" or j.phase ~= "queued" or names_line and waiting_key(j.queue, j.priority) ~= waiting then
    redis.call("ZREM", waiting, id)  -- its record is gone: deleted by hand, or evicted; or it is in another line
  elseif (tonumber(j.queued_at) or 0) + patience < looked_at then
    if not names_line then redis.call("ZREM", waiting, id) end
    left = left - 1
    -- A new place in line: in its old one the job would stay overtaken and be sent again at every look.
    return enqueue(id, key, now, ahead)
  end
end

local function take(ids, waiting, ahead)
  for _, id in ipairs(ids) do
    local message, went = alone(id, message_of, id, waiting, ahead)
    if not went then redis.call("ZREM", waiting, id) end
    for _, part in ipairs(message or {}) do send[#send + 1] = part end
  end
end

local function look_at(queue, priority)
  local flow, waiting = flow_key(queue, priority), waiting_key(queue, priority)
  if redis.call("EXISTS", waiting) == 0 then return end
  local f = fields_of(flow, "watermark", "mark", "mark_at", "overtaken_below", "busy_at")
  if not f.busy_at or redis.call("LLEN", celery_key(queue, priority)) > 0 then
    f.busy_at = now
    redis.call("HSET", flow, "busy_at", now)
  end
  if now - tonumber(f.mark_at or 0) >= patience then
    -- What had been reached at the last mark was reached at least `patience` ago.
    f.overtaken_below = f.mark or "0"
    redis.call("HSET", flow, "overtaken_below", f.overtaken_below, "mark", f.watermark or 0, "mark_at", now)
  end
  if now - tonumber(f.busy_at) > patience then
    -- There is nobody to go before: at the end of the line, each behind the other.
    take(redis.call("ZRANGE", waiting, 0, left - 1), waiting, false)
  else
    take(redis.call("ZRANGEBYSCORE", waiting, "-inf", "(" .. (f.overtaken_below or "0"), "LIMIT", 0, left), waiting, true)
  end
end

for _, line in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  if left > 0 then look_at(line:match("^(%S+) (%S+)$")) end
end
if left <= 0 then send[1] = 1 end
return send
