-- Circuits: whether it is worth asking a provider for a model. Put after common.lua before the scripts that say
-- `-- with circuit`, with places.lua behind it.
--
-- A circuit has a name, provider:model, and opens after so many failures in a row. While it is open nobody asks; then one
-- call at a time tries, and an answer closes it.
--   tandem:circuit:{name}  hash, absent while all is well
--     failures             in a row, before it opened
--     opened_at, until     there while it is not closed; until: when somebody may try
--     opens                how often it has opened since it was closed: each time for twice as long
--     probe                the call that tries, id.fence. It does so for as long as that claim is good, so that whatever
--                          ends the claim (a dead worker, a cancel, a 429) makes room for the next
--     sent_at              when somebody was sent to try
--   tandem:circuits        set: the names of those that are not closed
--
-- A provider that refuses our key is held by one more circuit, named key: and the provider, for all its models. One refusal
-- opens it, only the answer to the call that tries closes it: others were sent before. Beside the fields above it has
--     why                  what was refused: authentication_failed, payment_required, access_denied
-- and the provider has
--   tandem:access:{provider}  hash
--     key                  the fingerprint of the key that its workers have
--     proven_at            when a call that tried was answered last
--     refused {model}      when the key was refused for a model last; again {model}: how often although it was proven since.
--                          Both only until that model answers
--     answered {model}     when it was answered last after a failure

local CIRCUIT_KEPT_S = 86400
-- Whoever was sent to try has so long to get there, before another one is.
local ON_ITS_WAY = 1000
-- Jobs that wait for a circuit are parked behind this and its name.
local CIRCUIT_LINE = "circuit:"
local KEY = "key:"
-- A model that is refused so often although others were answered in between is refused for its own sake.
local REFUSED_AGAIN_MOST = 2

local function access_key(provider) return "tandem:access:" .. provider end
local function circuit_key(name) return "tandem:circuit:" .. name end

-- Is the claim of this epoch good still, whoever has it?
local function is_in_hand(key, epoch)
  local j = fields_of(key, "status", "epoch")
  return j.status == "processing" and j.epoch == epoch
end

-- How a circuit is: closed, open, probing (somebody tries) or free (somebody may).
local function circuit_of(name, now)
  local c = fields_of(circuit_key(name), "until", "opens", "opened_at", "probe", "sent_at")
  c.state = "closed"
  if c["until"] then
    local id, fence = (c.probe or ""):match("^(.*)%.(%d+)$")
    c.state = tonumber(c["until"]) > now and "open" or id and is_in_hand(job_key(id), fence) and "probing" or "free"
  end
  return c
end

-- May one more be sent to a circuit that is not closed, to try? Remembers that one was.
local function send_to_try(name, c, now)
  if c.state ~= "free" or tonumber(c.sent_at or 0) + ON_ITS_WAY > now then return false end
  redis.call("HSET", circuit_key(name), "sent_at", now)
  return true
end

local function open_circuit(name, c, now, open_ms, longest_ms)
  local opens = tonumber(c.opens or 0)
  local until_ms = now + math.min(open_ms * 2 ^ math.min(opens, 20), longest_ms)
  redis.call("HSET", circuit_key(name), "opened_at", c.opened_at or now, "until", string.format("%.0f", until_ms),
    "opens", opens + 1)
  redis.call("HDEL", circuit_key(name), "probe", "sent_at")
  redis.call("SADD", "tandem:circuits", name)
  -- When it closes, its line is let go in growing groups.
  redis.call("HSET", limit_key(CIRCUIT_LINE .. name), "step", 1, "wake_at", 0)
  redis.call("EXPIRE", limit_key(CIRCUIT_LINE .. name), CIRCUIT_KEPT_S)
end

-- Our key was refused for a model. Returns false when that says nothing of the key, since others are answered under it.
local function refuse_key(why, provider, model, call, now, open_ms, longest_ms)
  local access, name = access_key(provider), KEY .. provider
  local a = fields_of(access, "proven_at", "refused " .. model, "again " .. model)
  local again = tonumber(a["again " .. model] or 0)
  -- A key that is not known is good for nothing.
  if why ~= "authentication_failed" then
    if a["refused " .. model] and tonumber(a.proven_at or 0) > tonumber(a["refused " .. model]) then
      again = redis.call("HINCRBY", access, "again " .. model, 1)
    end
    if again >= REFUSED_AGAIN_MOST then return false end
    redis.call("HSET", access, "refused " .. model, now)
  end
  local c = fields_of(circuit_key(name), "until", "opens", "opened_at", "probe")
  -- Other calls than the one that tries were under way when it opened.
  if not c["until"] or c.probe == call then
    open_circuit(name, c, now, open_ms, longest_ms)
    redis.call("HSET", circuit_key(name), "why", why)
    redis.call("EXPIRE", circuit_key(name), CIRCUIT_KEPT_S)
  end
  return true
end

-- A call was answered: a key that it tried is good.
local function prove_key(name, call, now)
  local provider, model = name:match("^([^:]*):(.*)$")
  local held, access = circuit_key(KEY .. provider), access_key(provider)
  redis.call("HDEL", access, "refused " .. model, "again " .. model)
  if redis.call("HGET", held, "probe") ~= call then return end
  redis.call("DEL", held)
  redis.call("SREM", "tandem:circuits", KEY .. provider)
  redis.call("HSET", access, "proven_at", now)
end

-- What a call has shown. `told`: "" (nothing), or "answered|failed|away" (as if the provider were), the failures that open a circuit, for how long (ms),
-- the longest that it stays open (ms), and its name; or "refused", what our key was refused for, both times, the provider
-- and the model. Whoever has lost its claim has no say. Returns false for a refusal that says nothing of the key.
local function tell_circuit(told, call, now)
  local why, first, longest, provider, model = told:match("^refused (%S+) (%d+) (%d+) (%S+) (.+)$")
  if why then return refuse_key(why, provider, model, call, now, tonumber(first), tonumber(longest)) end
  local how, most, open_ms, longest_ms, name = told:match("^(%a+) (%d+) (%d+) (%d+) (.+)$")
  if not how then return end
  local key = circuit_key(name)
  if how == "answered" then
    if redis.call("DEL", key) == 1 then
      local its_provider, its_model = name:match("^([^:]*):(.*)$")
      redis.call("HSET", access_key(its_provider), "answered " .. its_model, now)
      redis.call("SREM", "tandem:circuits", name)
    end
    prove_key(name, call, now)
    return
  end
  local c = fields_of(key, "until", "opens", "opened_at", "probe")
  if c["until"] then
    -- Other calls than the one that tries were under way when it opened: they tell nothing new.
    if c.probe == call then open_circuit(name, c, now, tonumber(open_ms), tonumber(longest_ms)) end
  elseif redis.call("HINCRBY", key, "failures", how == "away" and 2 or 1) >= tonumber(most) then
    open_circuit(name, c, now, tonumber(open_ms), tonumber(longest_ms))
  end
  redis.call("EXPIRE", key, CIRCUIT_KEPT_S)
end
