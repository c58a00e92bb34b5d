-- Places: where else a job may be answered. After circuit.lua.
--
-- `routes` of a job's record: JSON [[queue, provider, target, model], …], this place first, then the further ones in their
-- order; `model` is the provider's id even where `target` is its default. Only jobs that have further places carry it,
-- which jobs of mode=auto alone do. `patience` (ms): how long such a job waits for an engine of ours that is not there.

-- A job that waits for a place to be good again is looked at so often.
local LOOK_AGAIN = 5000

local function places_of(key)
  return decoded(redis.call("HGET", key, "routes"), {})
end

-- Is there a circuit of a provider's key or model that lets nobody in? If one of them is to be tried, somebody is sent.
local function lets_in(provider, model, now)
  local free = {}
  for _, name in ipairs({KEY .. provider, provider .. ":" .. model}) do
    local c = circuit_of(name, now)
    if c.state == "open" or c.state == "probing" then return false end
    if c.state == "free" then free[#free + 1] = {name, c} end
  end
  for _, one in ipairs(free) do
    if not send_to_try(one[1], one[2], now) then return false end
  end
  return true
end

-- The first further place that has not retired the model and whose circuit lets a job in. With `any`, one whose circuit
-- does not, should there be no better one.
local function next_place(places, now, any)
  local found
  for nth = 2, #places do
    local _, provider, _, model = unpack(places[nth])
    if redis.call("EXISTS", retired_key(provider, model)) == 0 then
      if lets_in(provider, model, now) then return nth end
      found = found or nth
    end
  end
  return any and found or nil
end

-- Move a job on: it is in the line of its new place, with all its tries before it. Returns its message.
local function move(id, key, now, places, nth)
  local place, left = places[nth], {unpack(places, nth)}
  local j = fields_of(key, "batch", "queue")
  if j.batch then
    count_queued(j.batch, j.queue, -1)
    count_queued(j.batch, place[1], 1)
  end
  leave_lines(id, key)
  redis.call("HSET", key, "queue", place[1], "target", place[3], "tries", 0)
  redis.call("HDEL", key, "patience", "scopes", "limit", "worker", "failing_since")
  if #left > 1 then redis.call("HSET", key, "routes", cjson.encode(left)) else redis.call("HDEL", key, "routes") end
  redis.call("HINCRBY", key, "epoch", 1)
  return enqueue(id, key, now)
end

-- Move a job on that was not even tried where it was. Its trail says so, and why.
local function pass_over(id, key, now, places, nth, worker, why)
  local here = places[1]
  local n = redis.call("HINCRBY", key, "n", 1)
  open_attempt(key, now, {n = n, queue = here[1], provider = here[2], model = here[4], worker = worker})
  close_attempt(key, now, "passed_over", why, "")
  return move(id, key, now, places, nth)
end

-- The items of a shard that nobody has claimed: those that can go elsewhere, each with its places and which of them, and
-- how many cannot.
local function movable(key, now)
  local found, stay = {}, {}
  for _, item in ipairs(items_of_shard(key)) do
    local item_key = job_key(item)
    if redis.call("HGET", item_key, "phase") == "shard" then
      local places = places_of(item_key)
      local nth = next_place(places, now)
      if nth then found[#found + 1] = {item, places, nth} else stay[#stay + 1] = item end
    end
  end
  return found, stay
end

-- An item is its shard's again, which has come where it is.
local function join_shard(id, key)
  leave_lines(id, key)
  redis.call("HSET", key, "phase", "shard")
  redis.call("ZREM", "tandem:due", id)
end

-- A shard whose engine is not there goes where the first of its items can go, if no fewer can go anywhere than cannot.
-- The others are lined up by themselves, as are the few that go without it: where a circuit is only to be tried, that is
-- one. Who claims a shard serves one queue, so no item may be left in another.
local function pass_shard_over(id, key, now)
  local send, found, stay = {}, movable(key, now)
  local function to_send(message)
    for _, part in ipairs(message) do send[#send + 1] = part end
  end
  local queue = #found > 0 and #found >= #stay and found[1][2][found[1][3]][1]
  for _, one in ipairs(found) do
    local item, places, nth = unpack(one)
    local message = pass_over(item, job_key(item), now, places, nth, "", "no_engine")
    if places[nth][1] == queue then join_shard(item, job_key(item)) else to_send(message) end
  end
  if not queue then
    redis.call("ZADD", "tandem:due", math.min(now + LOOK_AGAIN, tonumber(redis.call("HGET", key, "expires_at"))), id)
    return send
  end
  for _, item in ipairs(stay) do to_send(enqueue(item, job_key(item), now)) end
  leave_lines(id, key)
  redis.call("HSET", key, "queue", queue)
  redis.call("HDEL", key, "patience")
  redis.call("HINCRBY", key, "epoch", 1)
  to_send(enqueue(id, key, now))
  return send
end

-- A pending job is due although its deadline has not come: what it waits for may not come back. Returns its message if it
-- goes elsewhere.
local function look_elsewhere(id, key, now)
  local j = fields_of(key, "queue", "phase", "target", "created_at", "expires_at", "patience", "limit", "step", "reason")
  local places, nth, why, again = places_of(key), nil, nil, tonumber(j.expires_at)
  if j.phase == "queued" and j.patience then
    why, again = "no_engine", math.min(again, spill_at(j))
    if again <= now then
      if j.step then return pass_shard_over(id, key, now) end
      nth, again = next_place(places, now), now + LOOK_AGAIN
    end
  elseif j.phase == "parked" and #places > 1 and j.limit:sub(1, #CIRCUIT_LINE) == CIRCUIT_LINE then
    nth, why, again = next_place(places, now), j.reason, now + LOOK_AGAIN
  end
  if nth then return pass_over(id, key, now, places, nth, "", why) end
  redis.call("ZADD", "tandem:due", math.min(again, tonumber(j.expires_at)), id)
end
