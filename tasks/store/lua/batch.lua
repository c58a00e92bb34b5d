-- Batches and their steps. After common.lua.
--
-- A batch (hash tandem:batch:{id}) counts: total, valid, invalid, and how its items ended (completed, failed, cancelled,
-- expired; `settled` is their sum), and by "queued {queue}" where they are answered. An item is a job whose record names its batch and its `line`.
-- A step is a record like a job's, with an epoch, a line to wait in, a lease and an entry in tandem:due: it carries what
-- has to be done for a batch (step: expand | retry | shard | finish) and is moved on by the same scripts. It has no owner.
-- An item that its shard has not claimed yet is in phase `shard` and has no entry in tandem:due: its shard's counts.

-- A batch that was rejected has sent its items nowhere, and was given no answers.
local function forget_queued(batch)
  redis.call("HDEL", batch_key(batch), "cached", "coalesced")
  for _, name in ipairs(redis.call("HKEYS", batch_key(batch))) do
    if name:find("^queued ") then redis.call("HDEL", batch_key(batch), name) end
  end
end

local function chunk_key(batch, number) return batch_key(batch) .. ":chunk:" .. number end

-- Lines that are read, or never will be: the room that was kept for them is free. Returns how many there were.
local function drop_chunk(key)
  local lines = redis.call("LLEN", key)
  redis.call("DECRBY", "tandem:unread", lines)
  redis.call("UNLINK", key)
  return lines
end

-- A step that waits for somebody to enqueue it. One that is there already is wanted for as long again.
local function new_step(batch, name, queue, priority, now, keep_ms, ...)
  local key = job_key(step_id(batch, name))
  if redis.call("EXISTS", key) == 1 then
    redis.call("HSET", key, "expires_at", now + keep_ms)
    return key
  end
  redis.call("HSET", key, "version", RECORD_VERSION, "epoch", 0, "tries", 0, "status", "pending", "phase", "held",
    "batch_step", batch,
    "queue", queue, "priority", priority, "created_at", now, "expires_at", now + keep_ms, ...)
  return key
end

-- A batch that is being read is not wanted any more: whoever reads it looks at once, should it wait for an engine.
local function stop_reading(batch, now)
  redis.call("HSET", batch_key(batch), "cancel_wanted", 1)
  local round = redis.call("HGET", batch_key(batch), "round")
  local reader = step_id(batch, round == "1" and "expand" or "retry-" .. round)
  if redis.call("HGET", job_key(reader), "phase") == "backoff" then watch_step(reader, now) end
end

-- The shards of a batch that is over are not needed any more, whatever state they are in: drop `most` of them. Returns
-- whether that were all. Before the batch is said to be over, so that whoever goes on with it goes on here.
local function drop_shards(batch, most)
  local key = batch_key(batch) .. ":shards"
  for _, name in ipairs(redis.call("LPOP", key, most) or {}) do
    local id = step_id(batch, name)
    leave_lines(id, job_key(id))
    redis.call("ZREM", "tandem:due", id)
    redis.call("DEL", job_key(id))
  end
  return redis.call("EXISTS", key) == 0
end

-- A batch that was paused goes on: line up what is held of its next `most` shards, from its field `resume_from`. Their
-- messages are added to `send`. Returns whether there are more of them: let_go.lua sees to those that nobody else does.
local function resume_some(batch, now, most, send)
  local key = batch_key(batch)
  local b = fields_of(key, "status", "resume_from")
  local from = b.status == "in_progress" and tonumber(b.resume_from)
  local names = from and redis.call("LRANGE", key .. ":shards", from, from + most - 1) or {}
  for _, name in ipairs(names) do
    local id = step_id(batch, name)
    local s = fields_of(job_key(id), "status", "phase")
    if s.status == "pending" and s.phase == "held" then
      for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
    end
  end
  if #names < tonumber(most) then
    redis.call("HDEL", key, "resume_from")
    return false
  end
  redis.call("HSET", key, "resume_from", from + most)
  return true
end
