-- Answers that jobs share: one that is there already (the cache), or under way (a flight). Put after common.lua.
--
-- A job whose answer may be shared carries
--   question     scope:hash of all that its answer depends on; tandem:answer:{question} is the job that has answered it
--   asked_of     "provider model" of that hash: an answer of anybody else's is not kept for others
--   cache_for_s  for how long it is kept
--   flight       of a leader and its followers: scope:hash of the question and of who may answer it
--   message      of a follower: its Celery message, for the case that it has to be run
--   group        of a leader: how many went at once when it did, itself included
--   went_along   of the others of such a group: its answer, too, is for all who still wait
-- tandem:flight:{flight} is the leader, tandem:followers:{flight} who waits for its answer, interactive before batch, the
-- older first; tandem:landed the flights that have an answer and followers still. A follower is watched for its own
-- deadline, or for a moment after its leader's: should nobody tell it what became of the leader, it finds out.
-- When a leader fails, twice as many go at once as went with it, and the first of them leads: one after another, twenty
-- who ask what cannot be answered would wait for nineteen failures (docs/decisions/0021).

-- Followers that are answered in one step, and bytes that are copied to them: Redis does nothing else meanwhile.
local AT_ONCE, COPIED_MOST = 100, 4 * 1024 * 1024
-- After its leader's deadline, by which it should have been told.
local LATE_MS = 1000
-- A flight whose end nobody saw is forgotten so long after its leader's deadline.
local KEPT_MS = 3600000
local NOTHING_USED = '{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'

-- Failures that tell of the question and nothing else: whoever asks the same would be told the same, for as much money.
local REFUSED = {bad_request = true, context_too_long = true, image_unfit = true, reasoning_exhausted = true}

local function flight_key(flight) return "tandem:flight:" .. flight end
local function answer_key(question) return "tandem:answer:" .. question end

local function is_unfinished(status) return status == "pending" or status == "processing" end

-- A completed job's answer and what it took; nil when there is none: not completed, or erased since.
local function answer_of(id)
  local a = fields_of(job_key(id), "status", "owner", "result", "usage", "images", "attempts")
  if a.status ~= "completed" or not a.result then return end
  local trail, used = decoded(a.attempts, {}), decoded(a.usage, {})
  local by = trail[#trail] or {}
  local saved = {queue = by.queue, provider = by.provider, model = by.model}
  for _, name in ipairs({"prompt_tokens", "completion_tokens", "total_tokens"}) do saved[name] = used[name] end
  if by.ended_at then saved.seconds = (by.ended_at - by.started_at) / 1000 end
  return {id = id, owner = a.owner, result = a.result, images = a.images, saved = cjson.encode(saved),
    provider = by.provider, line = (by.provider or "") .. " " .. (by.model or "") .. " ",
    tokens = tonumber(used.total_tokens) or 0}
end

-- What a job came to that holds for all who asked the same: its answer, or a refusal (which has a `code`).
local function outcome_of(id)
  local from = answer_of(id)
  if from then return from end
  local r = fields_of(job_key(id), "status", "owner", "error_code", "error_message")
  if r.status ~= "failed" or not REFUSED[r.error_code] then return end
  return {id = id, owner = r.owner, code = r.error_code, message = r.error_message or ""}
end

-- Complete a job with another's answer. It used nothing of its own; what it saved is told, and counted.
local function share(from, id, key, now, ttl_s)
  redis.call("HSET", key, "result", from.result, "usage", NOTHING_USED, "saved", from.saved)
  if from.images then redis.call("HSET", key, "images", from.images) end
  local j = fields_of(key, "owner", "batch", "cached", "queue")
  count(j.owner, now, from.line, {cached_requests = 1, saved_tokens = from.tokens})
  if j.batch then
    add_up(batch_key(j.batch), "", {[j.cached and "cached" or "coalesced"] = 1})
    count_queued(j.batch, j.queue, -1)
    note_simulated(j.batch, from.provider)
  end
  finish(id, key, now, "completed", ttl_s)
end

-- An owner is told whose answer it waits for where that is a job of its own.
local function name_leader(key, leader, owner)
  if redis.call("HGET", key, "owner") == owner then
    redis.call("HSET", key, "coalesced_with", leader)
  else
    redis.call("HDEL", key, "coalesced_with")
  end
end

local function hand_over(from, id, key, now, ttl_s)
  name_leader(key, from.id, from.owner)
  if from.code then fail(id, key, now, from.code, from.message, ttl_s) else share(from, id, key, now, ttl_s) end
end

local function follows(key, flight)
  local j = fields_of(key, "phase", "flight")
  return j.phase == "following" and j.flight == flight
end

-- Redis may have been away for long: what is needed now is kept, whatever deadline has passed.
local function kept_for(expires_at, now) return by_redis(math.max(tonumber(expires_at) or 0, now) + KEPT_MS) end

-- Among the followers, and watched. The list forgets itself after the last one's deadline.
local function stand_by(id, key, now, flight, leaders_expires_at)
  local j = fields_of(key, "priority", "created_at", "expires_at")
  redis.call("ZADD", followers_key(flight), place_of(j.priority, j.created_at), id)
  local kept_until = kept_for(j.expires_at, now)
  redis.call("PEXPIREAT", followers_key(flight), kept_until, "NX")
  redis.call("PEXPIREAT", followers_key(flight), kept_until, "GT")
  redis.call("ZADD", "tandem:due", math.min(j.expires_at, (tonumber(leaders_expires_at) or 0) + LATE_MS), id)
end

local function hand_to(from, id, flight, now, ttl_s)
  if follows(job_key(id), flight) then hand_over(from, id, job_key(id), now, ttl_s) end
end

-- The first followers get the answer, or the refusal, the others in further steps of the sweep.
local function land(flight, from, now, ttl_s)
  local most = math.max(1, math.min(AT_ONCE, math.floor(COPIED_MOST / #(from.result or from.message .. " "))))
  local ids = redis.call("ZRANGE", followers_key(flight), 0, most - 1)
  for _, id in ipairs(ids) do
    redis.call("ZREM", followers_key(flight), id)
    alone(id, hand_to, from, id, flight, now, ttl_s)
  end
  if redis.call("EXISTS", followers_key(flight)) == 1 then
    redis.call("SADD", "tandem:landed", flight)
  else
    redis.call("SREM", "tandem:landed", flight)
    redis.call("DEL", flight_key(flight))
  end
end

local function lead(id, key, flight, now)
  local expires_at = redis.call("HGET", key, "expires_at")
  redis.call("HSET", key, "flight", flight)
  redis.call("SET", flight_key(flight), id, "PXAT", kept_for(expires_at, now))
end

-- A follower lines up to be run. That its message cannot be sent is no harm: the rule for lost ones finds it.
local function set_off(id, key, flight, now)
  local message = redis.call("HGET", key, "message")
  redis.call("ZREM", followers_key(flight), id)
  redis.call("HDEL", key, "message", "coalesced_with")
  local _, _, queue, priority = unpack(enqueue(id, key, now))
  if message and message ~= "" then redis.pcall("LPUSH", celery_key(queue, priority), message) end
end

local function take_over(id, key, flight, now, group)
  lead(id, key, flight, now)
  redis.call("HSET", key, "group", group)
  set_off(id, key, flight, now)
end

local function go(id, flight, now, leader, group)
  local key = job_key(id)
  redis.call("ZREM", followers_key(flight), id)
  if not follows(key, flight) then return false end
  if leader then
    redis.call("HSET", key, "went_along", 1)
    set_off(id, key, flight, now)
  else
    take_over(id, key, flight, now, group)
  end
  return true
end

-- The leader has no answer: `group` of its followers go at once, and the first of them takes its place.
local function promote(flight, now, group)
  redis.call("DEL", flight_key(flight))
  redis.call("SREM", "tandem:landed", flight)
  local leader, gone = nil, 0
  for _, id in ipairs(redis.call("ZRANGE", followers_key(flight), 0, AT_ONCE - 1)) do
    if alone(id, go, id, flight, now, leader, group) then
      leader, gone = leader or id, gone + 1
      if gone == group then break end
    end
  end
  if not leader then return end
  local owner = redis.call("HGET", job_key(leader), "owner")
  for _, other in ipairs(redis.call("ZRANGE", followers_key(flight), 0, AT_ONCE - 1)) do
    alone(other, name_leader, job_key(other), leader, owner)
  end
end

-- How many go next. What kills its process goes alone, and so does whoever follows one that was ended, not answered.
local function next_group(id, status)
  local j = fields_of(job_key(id), "group", "error_code")
  if status ~= "failed" or j.error_code == "quarantined" then return 1 end
  return math.min(2 * (tonumber(j.group) or 1), AT_ONCE)
end

-- One that went along is over: its answer is for all who wait, and nobody waits for the leader any more.
local function end_beside(flight, id, now, ttl_s)
  if redis.call("HEXISTS", job_key(id), "went_along") == 0 then return end
  local from = redis.call("EXISTS", followers_key(flight)) == 1 and outcome_of(id)
  if not from then return end
  lead(id, job_key(id), flight, now)
  land(flight, from, now, ttl_s)
end

-- A job of a flight is over; `finish` calls this. Nothing is to be done unless it led, or went along.
end_flight = function(flight, id, status, now, ttl_s)
  if redis.call("GET", flight_key(flight)) ~= id then return end_beside(flight, id, now, ttl_s) end
  if redis.call("EXISTS", followers_key(flight)) == 0 then
    redis.call("DEL", flight_key(flight))
    return
  end
  local from = outcome_of(id)
  if from then land(flight, from, now, ttl_s) else promote(flight, now, next_group(id, status)) end
end

-- Somebody waits for this job who is in more of a hurry: it goes on in that line. Returns the messages to be sent.
local function lift(id, key, priority, now)
  local j = fields_of(key, "phase", "priority", "queue", "limit", "created_at")
  if tonumber(j.priority) <= tonumber(priority) then return {} end
  leave_lines(id, key)
  redis.call("HSET", key, "priority", priority, "lifted", 1)
  -- An item goes ahead of its shard, and although its batch is paused.
  local rests = j.phase == "parked" and j.limit:sub(1, #PAUSE_LINE) == PAUSE_LINE
  if j.phase == "queued" or j.phase == "shard" or rests then return enqueue(id, key, now) end
  if j.phase == "parked" then redis.call("ZADD", parked_key(j.limit), place_of(priority, j.created_at), id) end
  return {}
end

local function follow(id, key, now, flight, leader, l, message)
  redis.call("HSET", key, "status", "pending", "phase", "following", "flight", flight, "message", message)
  name_leader(key, leader, l.owner)
  stand_by(id, key, now, flight, l.expires_at)
  return lift(leader, job_key(leader), redis.call("HGET", key, "priority"), now)
end

-- Whether a leader waits for its batch to go on, and would not for this follower.
local function rests(l, key)
  return l.status == "pending" and l.batch and is_paused(l.batch)
    and tonumber(redis.call("HGET", key, "priority")) >= tonumber(l.priority)
end

-- A new job comes aboard. `answer` is the key of a cached answer, "" when it wants a new one and does not follow.
-- Returns "hit": it is completed | "following" and messages to be sent | nothing: it is to be run
local function board(id, key, now, answer, flight, message, ttl_s)
  local found = answer ~= "" and redis.call("GET", answer)
  local from = found and answer_of(found)
  local leader = redis.call("GET", flight_key(flight))
  local l = leader and fields_of(job_key(leader), "status", "owner", "expires_at", "batch", "priority") or {}
  if not from and answer ~= "" and l.status == "completed" then from = answer_of(leader) end
  if from then
    redis.call("HSET", key, "cached", 1)
    share(from, id, key, now, ttl_s)
    return "hit"
  end
  if is_unfinished(l.status) then
    if answer ~= "" and not rests(l, key) then return "following", follow(id, key, now, flight, leader, l, message) end
  elseif l.status ~= "completed" and not (leader and outcome_of(leader)) then
    -- A leader that is over has followers who are still to be told.
    lead(id, key, flight, now)
  end
end

-- A follower's moment has come, and it is not its deadline's.
local function look_up(id, key, flight, now, ttl_s)
  local leader = redis.call("GET", flight_key(flight))
  local from = leader and outcome_of(leader)
  if from then return hand_over(from, id, key, now, ttl_s) end
  local l = leader and fields_of(job_key(leader), "status", "expires_at") or {}
  if not is_unfinished(l.status) then
    promote(flight, now, 1)
    leader = redis.call("GET", flight_key(flight))
    if leader == id then return end
    if not leader then return take_over(id, key, flight, now, 1) end
    l = fields_of(job_key(leader), "expires_at")
  end
  stand_by(id, key, now, flight, l.expires_at)
end

-- An answer that did not reach all followers in one step. Returns whether some have to wait for another one.
local function land_further(now, ttl_s)
  local flight = redis.call("SRANDMEMBER", "tandem:landed")
  if not flight then return false end
  local leader = redis.call("GET", flight_key(flight))
  local from = leader and outcome_of(leader)
  if from then land(flight, from, now, ttl_s) else promote(flight, now, 1) end
  return redis.call("EXISTS", "tandem:landed") == 1
end
