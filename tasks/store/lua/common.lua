-- What every script shares; put before each of them. Times are milliseconds since the epoch, by now_us.
--
-- A job (hash tandem:job:{id}) carries, beside what the client gave:
--   status   pending | processing | completed | failed | cancelled | expired
--   phase    of a pending job: queued (its message waits) | backoff (until a moment) | parked (until a limit has room,
--            a circuit closes, or its paused batch goes on) | following (until another job has the answer, see
--            flights.lua) | shard (an item that its shard has not claimed yet, see batch.lua)
--            of a pending step of a batch also: held (until somebody enqueues it: its batch is read, or paused)
--   epoch    rises on every claim and put-back: the tag of its message and, with `worker`, the fence of every write
--   tries, crashes, engine_losses   charged failures; processes that died of it; engines that died with it
--   losses   workers that fell silent while they held it
-- Every unfinished job has one entry in tandem:due, its watcher; an item in phase `shard` has its shard's, and what is
-- held has its batch's.

-- What this text understands. It rises by one whenever an older worker could not do what a record asks for; such a worker
-- leaves what is newer than itself to others, uncharged, and looks again after a pause (docs/decisions/0030).
local RECORD_VERSION, NEWER_MS = 1, 1000
local ATTEMPTS_KEPT = 32
-- Behind "paused:{batch}" wait the items of a paused batch that are not their shards' any more.
local PAUSE_LINE = "paused:"
-- The limit that holds all claims while Redis is nearly full: what is in hand must be settled in what is left.
local STORAGE = "storage"
local DAY_MS, USAGE_KEPT_S = 86400000, 100 * 86400

-- The time of all scripts: Redis' own clock, and added to it what that was set back by (docs/decisions/0034).
--   tandem:clock  string "seen added" (µs): a moment that has been, NOTED_US old at the most while scripts run; what is added
-- While something is added, time runs slower by one part in SLOWER until it is Redis' own again. When more than JUMP_US
-- seem to have passed meanwhile, Redis was away or its clock was put right: that is taken from what is added.
local NOTED_US, JUMP_US, SLOWER = 1000000, 60000000, 20

-- Of this run: time stands still in a script.
local told_us, added_us

local function time_told()
  if told_us then return told_us, added_us end
  local t, clock = redis.call("TIME"), redis.call("GET", "tandem:clock") or "0 0"
  local own, seen, added = t[1] * 1000000 + t[2], clock:match("^(%d+) (%d+)$")
  seen, added = tonumber(seen or 0), tonumber(added or 0)
  local passed = own + added - seen
  if passed < 0 or passed > JUMP_US then
    added = math.max(seen + NOTED_US - own, 0) -- nobody was told a later time
  else
    added = added - math.floor(math.min(added, passed / SLOWER))
  end
  -- A script that may not write sees the same time; the next one that may write keeps it.
  if passed < 0 or passed >= NOTED_US then
    redis.pcall("SET", "tandem:clock", string.format("%.0f %.0f", own + added, added))
  end
  told_us, added_us = own + added, added
  return told_us, added_us
end

local function now_us()
  local now = time_told()
  return now
end

local function now_ms() return math.floor(now_us() / 1000) end

-- A moment by Redis' own clock, for what Redis is to let lapse then.
local function by_redis(at)
  local _, added = time_told()
  return string.format("%.0f", at - math.floor(added / 1000))
end

local function job_key(id) return "tandem:job:" .. id end
local function waiting_key(queue, priority) return "tandem:waiting:" .. queue .. ":" .. priority end
local function parked_key(limit) return "tandem:parked:" .. limit end
local function limit_key(limit) return "tandem:limit:" .. limit end
local function retired_key(provider, model) return "tandem:retired:" .. provider .. ":" .. model end
local function batch_key(batch) return "tandem:batch:" .. batch end
local function item_id(batch, line) return "job_" .. batch:sub(#"batch_" + 1) .. "-" .. line end
local function is_paused(batch) return redis.call("HEXISTS", batch_key(batch), "paused") == 1 end
local function is_step(id) return id:sub(1, #"step_") == "step_" end
local function step_id(batch, name) return "step_" .. batch .. "_" .. name end
local function tokens_key(scope) return "tandem:tokens:" .. scope end
local function calls_key(scope) return "tandem:calls:" .. scope end
local function followers_key(flight) return "tandem:followers:" .. flight end
local function flow_key(queue, priority) return "tandem:flow:" .. queue .. ":" .. priority end

-- kombu keeps one list per queue and priority; 0 is the queue's plain name.
local function celery_key(queue, priority)
  if (tonumber(priority) or 0) == 0 then return queue end
  return queue .. "\6\22" .. priority
end

-- HMGET as a table by name; a missing field is nil.
local function fields_of(key, ...)
  local names = {...}
  local values = redis.call("HMGET", key, unpack(names))
  local found = {}
  for i, name in ipairs(names) do found[name] = values[i] or nil end
  return found
end

-- Numbers that a record has, and texts, with what is taken where one is missing: it is of an older version, was damaged, or
-- is only the rest of one.
local NUMBERS = {epoch = 0, tries = 0, max_tries = 5, crashes = 0, engine_losses = 0, priority = 0}
local TEXTS = {queue = "api", kind = "chat", target = "", request = ""}
local EXPECTED = {"epoch", "tries", "max_tries", "crashes", "engine_losses", "priority", "created_at", "expires_at",
  "queue", "kind", "target", "request"}

-- Give a record that is there what it lacks, so that it can be moved on and ends as any other. Returns whether it lacked any.
local function mend(key, now)
  local values, mended = redis.call("HMGET", key, unpack(EXPECTED)), false
  for i, name in ipairs(EXPECTED) do
    local default = NUMBERS[name] or name == "created_at" and now or name == "expires_at" and now + DAY_MS
    if default and not tonumber(values[i]) or not default and not values[i] then
      redis.call("HSET", key, name, default or TEXTS[name])
      mended = true
    end
  end
  return mended
end

-- What a JSON text holds; `otherwise` where it is missing or holds nothing that can be read.
local function decoded(text, otherwise)
  local is_read, value = pcall(cjson.decode, text or "")
  return is_read and type(value) == "table" and value or otherwise
end

local function is_newer(version) return (tonumber(version) or 0) > RECORD_VERSION end

-- What a caller shows at every write, "epoch worker": is the job in its hand? The epoch alone does not tell: on a replica
-- that took over before it had heard of a claim, the next claim has the same one (docs/decisions/0030).
local function is_owned(key, fence)
  local j = fields_of(key, "status", "epoch", "worker")
  return j.status == "processing" and j.epoch .. " " .. (j.worker or "") == fence
end

-- The name of the call that is made under a fence.
local function call_of(id, fence) return id .. "." .. fence:match("^%d+") end

-- Of a record that cannot be read: how long until it is looked at again.
local BROKEN_MS = 60000

-- One of many in a step: what is wrong with its record concerns it alone, and not those behind it. It is logged by Redis.
local function alone(id, step, ...)
  local went, found = pcall(step, ...)
  if went then return found, true end
  redis.log(redis.LOG_WARNING, "tandem: " .. id .. ": " .. tostring(type(found) == "table" and found.err or found))
end

local function open_attempt(key, now, entry)
  local trail = decoded(redis.call("HGET", key, "attempts"), {})
  entry.started_at = now
  trail[#trail + 1] = entry
  if #trail > ATTEMPTS_KEPT then table.remove(trail, 1) end
  redis.call("HSET", key, "attempts", cjson.encode(trail))
end

-- `more` is a JSON object of further fields ("" for none). Returns the attempt, or nil when there was none to close, and
-- "provider model" as it was asked: `more` may say that a model of another name answered.
local function close_attempt(key, now, outcome, reason, more)
  local trail = decoded(redis.call("HGET", key, "attempts"), {})
  local last = trail[#trail]
  if not last or last.ended_at then return end
  local asked_of = last.provider .. " " .. last.model
  last.ended_at = now
  last.outcome = outcome
  if reason ~= "" then last.reason = reason end
  if more and more ~= "" then
    for name, value in pairs(cjson.decode(more)) do last[name] = value end
  end
  redis.call("HSET", key, "attempts", cjson.encode(trail))
  return last, asked_of
end

local function add_up(key, prefix, counts)
  for name, n in pairs(counts) do
    if type(n) == "number" then redis.call("HINCRBY", key, prefix .. name, n) end
  end
end

-- What an owner has used and saved, by day (UTC), provider and model. `line` is "provider model ".
local function count(owner, now, line, counts)
  local key = "tandem:usage:" .. owner .. ":" .. math.floor(now / DAY_MS)
  add_up(key, line, counts)
  redis.call("EXPIRE", key, USAGE_KEPT_S)
end

-- Items of a batch by the queue that answers them: so many more, or fewer. One that has another's answer is in none.
local function count_queued(batch, queue, n) redis.call("HINCRBY", batch_key(batch), "queued " .. queue, n) end

-- A batch says so when the sandbox, and no model, has answered an item of it.
local function note_simulated(batch, provider)
  if provider == "sandbox" then redis.call("HSET", batch_key(batch), "simulated", 1) end
end

-- Interactive before batch, the older first.
local function place_of(priority, created_at) return (tonumber(priority) or 0) * 1e13 + (tonumber(created_at) or 0) end

-- The job is nobody's: out of every line it may stand in. Returns its flight, if it is of one.
local function leave_lines(id, key)
  local j = fields_of(key, "queue", "priority", "limit", "phase", "flight")
  if j.phase == "queued" and j.queue and j.priority then redis.call("ZREM", waiting_key(j.queue, j.priority), id) end
  if j.phase == "parked" and j.limit then redis.call("ZREM", parked_key(j.limit), id) end
  if j.phase == "following" and j.flight then redis.call("ZREM", followers_key(j.flight), id) end
  return j.flight
end

-- Its message was popped: whoever lined up before it has been overtaken, if a message is still due. Of one that lined up
-- at the head it may be an older message, which was only late: it tells nothing of anybody else.
local function note_pop(id, queue, priority)
  local seq = redis.call("ZSCORE", waiting_key(queue, priority), id)
  if not seq or tonumber(seq) % 1 ~= 0 then return end
  local flow = flow_key(queue, priority)
  if tonumber(seq) > tonumber(redis.call("HGET", flow, "watermark") or 0) then
    redis.call("HSET", flow, "watermark", seq)
  end
end

-- Until when a job of mode=auto waits in line for an engine that is not there: so long after one was ready last, or since
-- its beginning.
local function spill_at(j)
  local ready_at = redis.call("HGET", "tandem:ready_at", j.target == "" and j.queue or j.queue .. ":" .. j.target)
  return math.max(tonumber(ready_at or 0), tonumber(j.created_at)) + (tonumber(j.patience) or 0)
end

-- Put a job at the end of its queue's line, or at its `ahead`: what was taken out of line and not run does not wait for
-- all others again. Its message is the caller's to send; should that fail, the rule for lost messages finds the job:
-- overtaken by later ones, or waiting while the queue is empty.
--   returns its message: {id, epoch, queue, priority, ahead (0|1)}
local function enqueue(id, key, now, ahead)
  local j = fields_of(key, "queue", "priority", "epoch", "expires_at", "patience", "target", "created_at")
  if not (j.queue and j.epoch and tonumber(j.priority) and tonumber(j.expires_at) and tonumber(j.created_at) and j.target)
  then
    mend(key, now)
    j = fields_of(key, "queue", "priority", "epoch", "expires_at", "patience", "target", "created_at")
  end
  -- At the head: behind all that was popped so far, before all that was not. Others' numbers are whole.
  local seq = ahead and (redis.call("HGET", flow_key(j.queue, j.priority), "watermark") or 0) + 0.5
    or redis.call("INCR", "tandem:sequence")
  redis.call("HSET", key, "status", "pending", "phase", "queued", "queued_at", now)
  redis.call("HDEL", key, "until", "reason", "ahead")
  redis.call("ZADD", waiting_key(j.queue, j.priority), seq, id)
  redis.call("SADD", "tandem:lines", j.queue .. " " .. j.priority)
  redis.call("ZADD", "tandem:due", j.patience and math.min(j.expires_at, spill_at(j)) or j.expires_at, id)
  return {id, j.epoch, j.queue, j.priority, ahead and 1 or 0}
end

-- `ahead`: it goes on at the head of its line.
local function back_off(id, key, now, until_ms, reason, ahead)
  redis.call("HSET", key, "status", "pending", "phase", "backoff", "until", until_ms, "reason", reason)
  if ahead then redis.call("HSET", key, "ahead", 1) end
  -- The deadline is looked at in time even when the wait goes beyond it.
  local expires_at = tonumber(redis.call("HGET", key, "expires_at"))
  redis.call("ZADD", "tandem:due", math.min(until_ms, expires_at), id)
end

-- A record that is newer than this text waits for a worker that understands it. Those of its own version are many, so it
-- does not go round and round between them.
local function leave_to_newer(id, key, now)
  leave_lines(id, key)
  redis.call("HINCRBY", key, "epoch", 1)
  back_off(id, key, now, now + NEWER_MS, "newer")
end

-- Line a job up behind a limit, interactive before batch, the older first; or behind what else `reason` says, in the
-- order of `since`. Its watcher is its deadline; it is let go when there is room.
local function park(id, key, now, limit, until_ms, reason, since)
  local j = fields_of(key, "expires_at", "priority", "created_at")
  redis.call("HSET", key, "status", "pending", "phase", "parked", "limit", limit, "reason", reason or "rate_limit",
    "until", until_ms)
  redis.call("ZADD", parked_key(limit), place_of(j.priority, since or j.created_at), id)
  redis.call("SADD", "tandem:limits", limit)
  redis.call("ZADD", "tandem:due", j.expires_at, id)
end

-- The items that a shard was made of.
local function items_of_shard(key)
  local s, ids = fields_of(key, "batch_step", "request"), {}
  for i, line in ipairs(decoded(s.request, {}).numbers or {}) do ids[i] = item_id(s.batch_step, line) end
  return ids
end

-- A step of a batch is looked at again at a moment, if it is still there: its batch may have been erased.
local function watch_step(id, at)
  if redis.call("EXISTS", job_key(id)) == 0 then return end
  redis.call("HSET", job_key(id), "status", "pending", "phase", "backoff", "until", at)
  redis.call("ZADD", "tandem:due", at, id)
end

-- What the records of batches say when nothing changes any more.
local BATCH_OVER = {completed = true, failed = true, cancelled = true, expired = true}

-- The end of an item is counted in its batch. The last one, or one failure too many, makes the batch due. Returns whether
-- it is an item of a batch that is there, which lets the records of all its items lapse with its own.
local function count_item(key, now, status)
  local j = fields_of(key, "batch", "line", "last_of")
  if j.last_of then watch_step(step_id(j.last_of, "finish"), now) end
  local batch = j.batch and batch_key(j.batch)
  local stands = batch and redis.call("HGET", batch, "status")
  if not stands then return false end
  if BATCH_OVER[stands] then return true end
  local ended = redis.call("HINCRBY", batch, status, 1)
  local settled = redis.call("HINCRBY", batch, "settled", 1)
  local b = fields_of(batch, "valid", "stop_at", "settled_us")
  -- No two alike, so that pages of them have an end.
  local at = math.max(now_us(), tonumber(b.settled_us or 0) + 1)
  redis.call("HSET", batch, "settled_us", string.format("%.0f", at))
  if j.line then redis.call("ZADD", batch .. ":settled", at, j.line) end
  local finish = step_id(j.batch, "finish")
  if settled >= tonumber(b.valid or math.huge) or (status == "failed" and b.stop_at and ended >= tonumber(b.stop_at)) then
    -- One that runs right now looks again by itself.
    if redis.call("HGET", job_key(finish), "phase") == "backoff" then watch_step(finish, now) end
  end
  return true
end

-- A call whose job was ended from outside is cut, and its worker tells the quotas what it came to. Where the worker has
-- died nobody will: then it is over after this, and its tokens a usual window later.
local CUT_WITHIN, TOKENS_COUNT = 15000, 60000

-- Before the epoch of a job that is ended from outside rises.
local function cut_call(id, key, now)
  local j = fields_of(key, "scopes", "epoch")
  local call = id .. "." .. (j.epoch or "")
  for scope in (j.scopes or ""):gmatch("%S+") do
    redis.call("ZADD", calls_key(scope), "XX", "LT", now + CUT_WITHIN, call)
    redis.call("ZADD", tokens_key(scope), "XX", "LT", now + CUT_WITHIN + TOKENS_COUNT, call)
  end
end

-- What the end of a leader means for those who follow it: in flights.lua.
local end_flight

-- An owner's jobs by how they have ended, and those that have not, "open": sorted sets like the list of them all, from
-- which they take their scores.
local function owners_list(owner) return "tandem:owner:" .. owner .. ":jobs" end
local LONGEST_LIFE_S = 7 * 86400 -- LONGEST_EXPIRES_IN_S of tasks/domain/job.py

local function list_open(list, id, at, age_ms)
  redis.call("ZADD", list .. ":open", at, id)
  redis.call("ZREMRANGEBYSCORE", list .. ":open", "-inf", at - age_ms * 1000)
end

-- What is in no list is nobody's to list: the items of batches.
local function list_ended(id, key, status, ttl_s)
  local owner = redis.call("HGET", key, "owner")
  local list = owner and owners_list(owner)
  local at = list and redis.call("ZSCORE", list, id)
  if not at then return end
  local ended, age_s = list .. ":" .. status, LONGEST_LIFE_S + ttl_s
  redis.call("ZREM", list .. ":open", id)
  redis.call("ZADD", ended, at, id)
  redis.call("ZREMRANGEBYSCORE", ended, "-inf", string.format("%.0f", now_us() - age_s * 1000000))
  redis.call("EXPIRE", ended, age_s)
end

-- End a job for good: its record stays for ttl_s, an item's as long as its batch's. Nobody watches it any more, whoever waits is told.
local function finish(id, key, now, status, ttl_s)
  free_answer(id, key)
  local flight = leave_lines(id, key)
  redis.call("HSET", key, "status", status, "phase", "", "finished_at", now)
  redis.call("HDEL", key, "until", "reason", "suspect", "message")
  -- An answered prompt is not needed any more; those of others may be asked again.
  if status == "completed" then redis.call("HDEL", key, "request") end
  redis.call("ZREM", "tandem:due", id)
  if not count_item(key, now, status) then
    redis.call("EXPIRE", key, ttl_s)
    list_ended(id, key, status, ttl_s)
  end
  redis.call("PUBLISH", "tandem:settled", id)
  if flight then end_flight(flight, id, status, now, ttl_s) end
end

local function fail(id, key, now, code, message, ttl_s)
  redis.call("HSET", key, "error_code", code, "error_message", message)
  finish(id, key, now, "failed", ttl_s)
end

local function expire(id, key, now, ttl_s)
  close_attempt(key, now, "expired", "the job's deadline passed", "")
  redis.call("HSET", key, "error_code", "deadline_exceeded", "error_message", "the job's deadline passed before it was done")
  finish(id, key, now, "expired", ttl_s)
end

-- End a job that a limit will not let run before its deadline.
local function fail_late(id, key, now, ttl_s, limit)
  redis.call("HSET", key, "error_code", "limit_exceeds_deadline",
    "error_message", "the limits of " .. limit .. " leave no room before the job's deadline")
  finish(id, key, now, "failed", ttl_s)
end
