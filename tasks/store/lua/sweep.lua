#!lua flags=allow-oom
-- with rate
-- with circuit
-- Look at what is due, a bounded number at a time, and move it on: retry, reclaim, expire, send elsewhere; and hand answers
-- on.
-- Every worker runs this once a second; whoever comes first does it, and the next finds nothing left.
--   KEYS  due, workers
--   ARGV  lease_ms, limit, ttl_s, policy
--   returns {examined, id, epoch, queue, priority, ahead, id, epoch, …}: the messages that are to be sent
local now, lease, send = now_ms(), tonumber(ARGV[1]), {0}

-- A frozen or restarted Redis lets every lease lapse at once. When nobody swept for a third of a lease, nobody could
-- send a heartbeat either, so no lease is taken away before its holder had time for one. Not twice in a row: workers
-- too busy to sweep in time would extend each other's leases for ever.
local state = fields_of("tandem:sweep", "swept_at", "grace_until")
local grace_until = tonumber(state.grace_until or 0)
if now - tonumber(state.swept_at or 0) > lease / 3 and now > grace_until + lease / 2 then
  grace_until = now + lease
  redis.call("HSET", "tandem:sweep", "grace_until", grace_until)
end
redis.call("HSET", "tandem:sweep", "swept_at", now)

-- Above this share of maxmemory nobody claims, until so long after it was last seen.
local FULL, FULL_MS = 0.97, 2000
local memory = redis.call("INFO", "memory")
local used, most = tonumber(memory:match("\nused_memory:(%d+)")), tonumber(memory:match("\nmaxmemory:(%d+)"))
if most > 0 and used > most * FULL then
  redis.call("HSET", limit_key(STORAGE), "until", now + FULL_MS, "step", 1, "wake_at", 0)
end

-- When the workers of each host were last seen; a worker's name is node@host#life.
local hosts
local function seen_on_host_of(worker)
  if not hosts then
    hosts = {}
    local all = redis.call("ZRANGE", KEYS[2], 0, -1, "WITHSCORES")
    for i = 1, #all, 2 do
      local host = all[i]:match("@([^#]*)") or ""
      hosts[host] = hosts[host] or {}
      table.insert(hosts[host], tonumber(all[i + 1]))
    end
  end
  return hosts[worker:match("@([^#]*)") or ""] or {}
end

-- Did all the workers of its host, two at least, fall silent within half a lease of this one, and has nobody been heard
-- there since? Then it was the host, or its network. Workers of several hosts are silent together by chance only.
local function host_went_down(worker, seen)
  local together = 0
  for _, at in ipairs(seen_on_host_of(worker)) do
    if at > seen + lease / 2 then return false end
    if at >= seen - lease / 2 then together = together + 1 end
  end
  return together > 1
end

-- Is what was in the hands of this worker to run in a process of its own next? Not if the worker lives: then a lease lapsed
-- because Redis was away. A job goes free the first time if its whole host went down, or if nothing is known of the worker
-- any more; a step of a batch never does.
local function is_suspicious(id, key, worker)
  local seen = tonumber(redis.call("ZSCORE", KEYS[2], worker) or 0)
  if seen + lease > now then return false end
  local losses = redis.call("HINCRBY", key, "losses", 1)
  return losses > 1 or is_step(id) or seen > 0 and not host_went_down(worker, seen)
end

-- Nobody will tell any more what became of a call: it counts as if it had just ended.
local function close_call(id, j)
  local policy = policy_of(ARGV[4])
  over(policy, names_of(policy, j.scopes), id .. "." .. j.epoch, now, now, -1, 1, -1)
end

local function reclaim(id, key, j)
  close_attempt(key, now, "lost", "the worker's lease ran out", "")
  close_call(id, j)
  redis.call("HINCRBY", key, "epoch", 1)
  redis.call("HDEL", key, "worker")
  if is_suspicious(id, key, j.worker or "") then redis.call("HSET", key, "suspect", 1) end
  return enqueue(id, key, now, true)
end

local function look_at(id, key)
  local j = fields_of(key, "status", "phase", "expires_at", "worker", "epoch", "scopes", "flight",
    "ahead")
  -- What is no record, or only the rest of one, must not keep everybody else from being looked at.
  if not j.status or not (j.expires_at or j.epoch) then
    redis.call("ZREM", KEYS[1], id)
    return
  end
  if not tonumber(j.expires_at) or not tonumber(j.epoch) then
    mend(key, now)
    j.expires_at, j.epoch = unpack(redis.call("HMGET", key, "expires_at", "epoch"))
  end
  if tonumber(j.expires_at) <= now then
    redis.call("HINCRBY", key, "epoch", 1)
    expire(id, key, now, ARGV[3])
    if j.status == "processing" then
      close_call(id, j)
      redis.call("PUBLISH", "tandem:nudge", id)
    end
  elseif j.status == "processing" and now < grace_until then
    redis.call("ZADD", KEYS[1], grace_until, id)
  elseif j.status == "processing" then
    return reclaim(id, key, j)
  elseif j.phase == "backoff" then
    return enqueue(id, key, now, j.ahead)
  elseif j.phase == "following" then
    look_up(id, key, j.flight, now, ARGV[3])
  else
    return look_elsewhere(id, key, now)
  end
end

-- Room that is kept for nobody is free: the record was deleted by hand, or ended by a version that knew of no room.
local LOOKED_THROUGH = 10
local function free_unowned()
  for _, name in ipairs(redis.call("HRANDFIELD", RESERVED, LOOKED_THROUGH)) do
    local status = redis.call("HGET", name:find("^batch_") and batch_key(name) or job_key(name), "status")
    if not status or BATCH_OVER[status] then free_room(name) end
  end
  if redis.call("EXISTS", RESERVED) == 0 then redis.call("DEL", RESERVED_BYTES) end
end
free_unowned()

for _, id in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", now, "LIMIT", 0, ARGV[2])) do
  local message, went = alone(id, look_at, id, job_key(id))
  if not went then redis.call("ZADD", KEYS[1], now + BROKEN_MS, id) end
  send[1] = send[1] + 1
  for _, part in ipairs(message or {}) do send[#send + 1] = part end
end
-- As many as the limit: there is more to do.
if land_further(now, ARGV[3]) then send[1] = tonumber(ARGV[2]) end
return send
