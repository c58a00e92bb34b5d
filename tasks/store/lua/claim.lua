#!lua flags=allow-oom
-- with rate
-- with circuit
-- Claim a job for one attempt, if its message is still the right one and its provider has room for one more call.
--   KEYS  job:{id}
--   ARGV  id, epoch of the message, worker, lease_ms, may_isolate (0|1: a suspect may be run now), ttl_s, policy,
--         alone_from (one that was there when so many engines died may not be run now; "": it may),
--         then queue, provider, default model, queue, …: who answers which queue at this worker
--   returns {"gone"} not pending at this epoch: somebody else has it, or it is over
--           {"expired"} | {"retired"} its model is out of service: the job has failed
--           {"late"} no room before its deadline | {"later"} a suspect that found no process or engine of its own, or a record
--            that is newer than this text
--           {"held", ms until somebody is to be let go (-1: not known), id, epoch, queue, priority, ahead, …} parked behind a
--            limit, a circuit or its batch's pause, or moved on to another place; messages
--           {"claimed", fence, n, tries, max_tries, crashes, engine_losses, suspect, left_ms,
--            kind, queue, target (the model's id at the provider), request, scopes of its quotas, now_ms,
--            provider, how many further places it may go to, probe (0|1: its call tries an open circuit), priority,
--            for how long it has been failing here (ms), others_answered (0|1: others were answered since that began)}
local key, id, now = KEYS[1], ARGV[1], now_ms()
local j = fields_of(key, "status", "epoch", "expires_at", "suspect", "queue", "priority", "phase", "target",
  "batch", "lifted", "engine_losses", "version")
if j.status ~= "pending" or j.phase == "following" or j.epoch ~= ARGV[2] then return {"gone"} end
if is_newer(j.version) then
  note_pop(id, j.queue or "", j.priority or "")
  leave_to_newer(id, key, now)
  return {"later"}
end
if mend(key, now) then
  j = fields_of(key, "status", "epoch", "expires_at", "suspect", "queue", "priority", "phase", "target", "batch",
    "lifted", "engine_losses")
end
local provider, default_target
for i = 9, #ARGV, 3 do
  if ARGV[i] == j.queue then provider, default_target = ARGV[i + 1], ARGV[i + 2] end
end
if not provider then return {"gone"} end
note_pop(id, j.queue, j.priority)
if tonumber(j.expires_at) <= now then
  expire(id, key, now, ARGV[6])
  return {"expired"}
end
local target = j.target and j.target ~= "" and j.target or default_target
local policy, places = policy_of(ARGV[7]), places_of(key)
local names, call = scopes_of(policy, provider, target), id .. "." .. (j.epoch + 1)

local function go_to(nth, why)
  unbook(names, call)
  return {"held", -1, unpack(pass_over(id, key, now, places, nth, ARGV[3], why))}
end

-- An item of a paused batch waits: with its shard, or on its own if it was claimed before.
if j.batch and not j.lifted and is_paused(j.batch) then
  unbook(names, call)
  if j.phase ~= "shard" then
    leave_lines(id, key)
    redis.call("HINCRBY", key, "epoch", 1)
    park(id, key, now, PAUSE_LINE .. j.batch, now, "paused")
    redis.call("HDEL", key, "until")
  end
  return {"held", -1}
end

local retired = redis.call("GET", retired_key(provider, target))
if retired then
  local nth = next_place(places, now, true)
  if nth then return go_to(nth, "model_retired") end
  fail(id, key, now, "model_retired", retired, ARGV[6])
  return {"retired"}
end
leave_lines(id, key)
local needs_engine = tonumber(j.engine_losses) >= (tonumber(ARGV[8]) or math.huge)
if needs_engine or (j.suspect and ARGV[5] == "0") then
  back_off(id, key, now, now + 500, "isolation", true)
  return {"later"}
end

-- Whoever finds a circuit open, of the key or of the model, goes elsewhere or waits; whoever finds nobody trying does.
local key_name, name = KEY .. provider, provider .. ":" .. target
local key_circuit, circuit = circuit_of(key_name, now), circuit_of(name, now)
for _, one in ipairs({{key_name, key_circuit, "key_refused"}, {name, circuit, "circuit_open"}}) do
  local its_name, its, why = unpack(one)
  if its.state == "open" or its.state == "probing" then
    local nth = next_place(places, now)
    if nth then return go_to(nth, why) end
    redis.call("HINCRBY", key, "epoch", 1)
    unbook(names, call)
    park(id, key, now, CIRCUIT_LINE .. its_name, math.max(now, tonumber(its["until"])), why, now)
    if #places > 1 then redis.call("ZADD", "tandem:due", math.min(now + LOOK_AGAIN, j.expires_at), id) end
    return {"held", math.max(0, its["until"] - now)}
  end
end

local function wait(limit, until_ms, sure)
  redis.call("HINCRBY", key, "epoch", 1)
  unbook(names, call)
  if sure >= tonumber(j.expires_at) then
    fail_late(id, key, now, ARGV[6], limit)
    return {"late"}
  end
  redis.call("HSET", key, "scopes", table.concat(names, " "))
  park(id, key, now, limit, until_ms)
  local send = {}
  local again = policy.scopes[limit] and give(policy, limit, now, send) or until_ms
  return {"held", math.max(again - now, 0), unpack(send)}
end

local full_until = tonumber(redis.call("HGET", limit_key(STORAGE), "until") or 0)
if full_until > now then
  redis.call("HINCRBY", key, "epoch", 1)
  unbook(names, call)
  park(id, key, now, STORAGE, full_until, "storage_full")
  return {"held", full_until - now}
end

for _, limit in ipairs({provider, provider .. ":" .. target}) do
  local held_until = tonumber(redis.call("HGET", limit_key(limit), "until") or 0)
  if held_until > now then return wait(limit, held_until, held_until) end
end

-- Whoever was let go has its room already.
if names[1] and tonumber(redis.call("ZSCORE", calls_key(names[1]), call) or 0) <= now then
  local wanted = fields_of(key, "prompt_tokens", "most_tokens", "created_at")
  local place = place_of(j.priority, wanted.created_at)
  local at, by, sure, states = verdict(policy, names, now, wanted)
  for _, s in ipairs(states) do
    local first = redis.call("ZRANGE", parked_key(s.scope), 0, 0, "WITHSCORES")[2]
    if not by and first and tonumber(first) < place then by = s end
  end
  if by then
    local ahead = redis.call("ZCOUNT", parked_key(by.scope), "-inf", string.format("%.0f", place))
    -- What is learned may rise again, and so may a guess: only what was set is a reason to give a job up.
    local limit = by.quota.rpm > 0 and not by.quota.guessed and by.quota.rpm or math.huge
    local turn, sure_turn = turn_at(policy, by, by.limit, now, at, ahead), turn_at(policy, by, limit, now, sure, ahead)
    return wait(by.scope, turn, sure_turn)
  end
  book(policy, states, call, now, now, now)
end

if key_circuit.state == "free" then redis.call("HSET", circuit_key(key_name), "probe", call) end
if circuit.state == "free" then redis.call("HSET", circuit_key(name), "probe", call) end
if names[1] then begin(policy, names, call, now) end
local fence = redis.call("HINCRBY", key, "epoch", 1)
local n = redis.call("HINCRBY", key, "n", 1)
redis.call("HSET", key, "status", "processing", "phase", "", "worker", ARGV[3])
redis.call("HSETNX", key, "started_at", now)
redis.call("HDEL", key, "until", "reason")
if names[1] then redis.call("HSET", key, "scopes", table.concat(names, " ")) end
redis.call("ZADD", "tandem:due", now + tonumber(ARGV[4]), id)
local c = fields_of(key, "kind", "request", "tries", "max_tries", "crashes", "engine_losses", "failing_since")
local failing_since = tonumber(c.failing_since or now)
local answered = c.failing_since and tonumber(redis.call("HGET", access_key(provider), "answered " .. target) or 0) or 0
open_attempt(key, now, {n = n, queue = j.queue, provider = provider, model = target, worker = ARGV[3]})
return {"claimed", tostring(fence), n, c.tries, c.max_tries, c.crashes, c.engine_losses, j.suspect or "0",
  tonumber(j.expires_at) - now, c.kind, j.queue, target, c.request, table.concat(names, " "), tostring(now),
  provider, math.max(0, #places - 1), circuit.state == "free" and 1 or 0, j.priority,
  now - failing_since, answered > failing_since and 1 or 0}
