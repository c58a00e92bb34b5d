#!lua flags=allow-oom
-- with rate
-- with circuit
-- with batch
-- Let jobs go that were parked behind a limit: with a quota as many as there is room for. Without one, after a hold,
-- one goes first, then two, four, …: ten thousand woken together would run into the same limit again. A group that is
-- larger than what may be done at once goes in parts, spread over its time. Behind a circuit one at a time until it has
-- closed, and then in the same way. Items of a paused batch as in the largest groups once it goes on, and some of its
-- shards that are still held.
--   KEYS  limits (set of names)
--   ARGV  step_ms of a group, largest group, policy, most jobs or shards at once
--   returns {ms until somebody is to be let go (-1 = nobody waits), id, epoch, queue, priority, ahead, id, …}: messages to be sent
local now, policy, send = now_ms(), policy_of(ARGV[3]), {-1}
local step_ms, largest, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])

local function let_first(limit, count)
  local parked = parked_key(limit)
  for _, id in ipairs(redis.call("ZRANGE", parked, 0, count - 1)) do
    redis.call("ZREM", parked, id)
    if redis.call("EXISTS", job_key(id)) == 1 then
      for _, part in ipairs(enqueue(id, job_key(id), now)) do send[#send + 1] = part end
    end
  end
end

local function by_steps(limit)
  local key = limit_key(limit)
  local l = fields_of(key, "until", "step", "wake_at")
  local wake_at = math.max(tonumber(l["until"] or 0), tonumber(l.wake_at or 0))
  if wake_at > now then return wake_at end
  local group = tonumber(l.step or 1)
  local count = math.min(group, most)
  local part = count / group
  let_first(limit, count)
  local next_at = now + math.ceil(step_ms * part)
  redis.call("HSET", key, "step", math.min(math.floor(group * 2 ^ part), largest), "wake_at", next_at)
  if redis.call("ZCARD", parked_key(limit)) > 0 then return next_at end
  redis.call("SREM", KEYS[1], limit)
end

local function by_circuit(limit, name)
  local c = circuit_of(name, now)
  if c.state == "closed" then return by_steps(limit) end
  if redis.call("ZCARD", parked_key(limit)) == 0 then
    redis.call("SREM", KEYS[1], limit)
    return nil
  end
  if c.state == "open" then return tonumber(c["until"]) end
  if send_to_try(name, c, now) then let_first(limit, 1) end
  return now + step_ms
end

local function by_pause(limit, batch)
  if resume_some(batch, now, most, send) then return now end
  if redis.call("ZCARD", parked_key(limit)) == 0 then
    redis.call("SREM", KEYS[1], limit)
    return nil
  end
  if is_paused(batch) then return nil end
  let_first(limit, most)
  return now + math.ceil(step_ms * most / largest)
end

for _, limit in ipairs(redis.call("SMEMBERS", KEYS[1])) do
  local at, name
  if limit:sub(1, #CIRCUIT_LINE) == CIRCUIT_LINE then name = limit:sub(#CIRCUIT_LINE + 1) end
  if policy.scopes[limit] then
    at = give(policy, limit, now, send)
  elseif limit:sub(1, #PAUSE_LINE) == PAUSE_LINE then
    at = by_pause(limit, limit:sub(#PAUSE_LINE + 1))
  elseif name then
    at = by_circuit(limit, name)
  else
    at = by_steps(limit)
  end
  if at and (send[1] < 0 or at - now < send[1]) then send[1] = math.max(at - now, 0) end
end
return send
