-- The governor: what a scope (a provider's key, or one model there) has left, and who gets it. Put after common.lua
-- before the scripts that say `-- with rate`.
--
-- What a scope may do comes with every call (the policy: JSON of tasks/quotas.py); what it has done is here:
--   tandem:limit:{scope}     hash: until (a hold); learned, learned_at, raise_at, patience, probing, trial, proven; given_at;
--                            day, day_used; spent (sum of tokens); output (tokens that
--                            answers take), ratio (of a prompt's real tokens to those estimated); refused, asked
--   tandem:requests:{scope}  sorted set: call → until when it counts as a request
--   tandem:tokens:{scope}    sorted set: call → until when its tokens count;  tandem:spent:{scope}  hash: call → tokens
--   tandem:calls:{scope}     sorted set: call in flight → when it is over at the latest
-- A call is id.fence. A job that is let go has its call booked already, for as long as its message may take.

-- Both ends of a window are read in whole milliseconds.
local SPARE = 2
-- Where nothing tells when there will be room, a look again after this.
local LOOK = 1000
-- So many requests at once are believed of any provider.
local FREE = 5
-- Tokens of an answer whose request bounds it by nothing, until answers have shown what they take.
local OUTPUT = 256
-- Windows of full use before one more request is tried where a refusal has shown the limit. Doubled by each refusal.
local PATIENCE, PATIENCE_MOST = 15, 1440
-- A provider of which nothing was said.
local UNLIMITED = {rpm = 0, tpm = 0, rpd = 0, calls = 0, guessed = false}
-- Jobs let go in one step at the most.
local GIVEN_MOST = 200

local function requests_key(scope) return "tandem:requests:" .. scope end
local function tokens_key(scope) return "tandem:tokens:" .. scope end
local function spent_key(scope) return "tandem:spent:" .. scope end
local function calls_key(scope) return "tandem:calls:" .. scope end

local function policy_of(json)
  return json ~= "" and cjson.decode(json) or {scopes = {}}
end

local function scopes_of(policy, provider, target)
  local names = {}
  for _, name in ipairs({provider, provider .. ":" .. target}) do
    if policy.scopes[name] then names[#names + 1] = name end
  end
  return names
end

local function limit_of(quota, learned)
  if quota.rpm == 0 then return math.huge end
  if not learned then return quota.rpm end
  return quota.guessed and tonumber(learned) or math.min(tonumber(learned), quota.rpm)
end

local function set_tokens(scope, call, tokens, until_ms)
  local old = tonumber(redis.call("HGET", spent_key(scope), call) or 0)
  if tokens == 0 then
    redis.call("HDEL", spent_key(scope), call)
    redis.call("ZREM", tokens_key(scope), call)
  else
    redis.call("HSET", spent_key(scope), call, tokens)
    redis.call("ZADD", tokens_key(scope), until_ms, call)
  end
  if tokens ~= old then redis.call("HINCRBY", limit_key(scope), "spent", tokens - old) end
end

local function days(policy, now) return math.floor(now / ((policy.window or 60000) * 1440)) end

-- A scope as it stands now: what no longer counts is struck out first.
local function look(policy, scope, now)
  redis.call("ZREMRANGEBYSCORE", requests_key(scope), "-inf", now)
  redis.call("ZREMRANGEBYSCORE", calls_key(scope), "-inf", now)
  for _, call in ipairs(redis.call("ZRANGEBYSCORE", tokens_key(scope), "-inf", now)) do set_tokens(scope, call, 0) end
  local s = fields_of(limit_key(scope), "until", "learned", "trial", "proven", "given_at", "day", "day_used", "spent",
    "output", "raise_at", "probing", "patience", "refused_at", "ratio")
  s.scope, s.quota = scope, policy.scopes[scope] or UNLIMITED
  s.limit = limit_of(s.quota, s.learned)
  s.used = redis.call("ZCARD", requests_key(scope))
  s.calls = redis.call("ZCARD", calls_key(scope))
  s.day_used = tonumber(s.day or -1) == days(policy, now) and tonumber(s.day_used) or 0
  return s
end

-- Tokens that a job may take here.
local function tokens_of(s, j)
  if s.quota.tpm == 0 then return 0 end
  local answer = tonumber(j.most_tokens or 0)
  if answer == 0 then answer = tonumber(s.output or OUTPUT) end
  return math.min(math.ceil(tonumber(j.prompt_tokens or 0) * tonumber(s.ratio or 1)) + answer, s.quota.tpm)
end

local function tokens_at(s, tokens, now)
  local excess = tonumber(s.spent or 0) + tokens - s.quota.tpm
  if excess <= 0 then return now end
  local booked = redis.call("ZRANGE", tokens_key(s.scope), 0, 199, "WITHSCORES")
  for i = 1, #booked, 2 do
    excess = excess - tonumber(redis.call("HGET", spent_key(s.scope), booked[i]) or 0)
    -- A call in flight may be over long before its time.
    if excess <= 0 then
      return redis.call("ZSCORE", calls_key(s.scope), booked[i]) and now + LOOK or tonumber(booked[i + 1])
    end
  end
  return now + LOOK
end

-- When a call of so many tokens has room (now, if it has), and the part of that which nothing but time will change.
local function room_at(policy, s, now, tokens)
  local q = s.quota
  local sure = math.max(now, tonumber(s["until"] or 0))
  if q.rpd > 0 then
    local tomorrow = (days(policy, now) + 1) * policy.window * 1440
    -- What is sent in a day's last moment may arrive in the next one.
    if s.day_used >= q.rpd or now + policy.arrival >= tomorrow then
      sure = math.max(sure, tomorrow)
    elseif s.day_used + s.calls >= q.rpd then
      -- Calls in flight are counted twice: one that was let go is not among the day's yet.
      sure = math.max(sure, now + LOOK)
    end
  end
  if s.used >= s.limit then
    local entry = redis.call("ZRANGE", requests_key(s.scope), s.used - s.limit, s.used - s.limit, "WITHSCORES")
    sure = math.max(sure, tonumber(entry[2]))
  end
  local at = sure
  if q.guessed and s.used < s.limit and s.used >= math.max(FREE, tonumber(s.proven or 0)) then
    -- Beyond what is proven one at a time, so that few are under way when the first is refused.
    at = math.max(at, tonumber(s.given_at or 0) + math.ceil(policy.window / (2 * s.limit)))
  end
  if (s.trial and s.calls > 0) or (q.calls > 0 and s.calls >= q.calls) then at = math.max(at, now + LOOK) end
  if q.tpm > 0 then at = math.max(at, tokens_at(s, tokens, now)) end
  return at, sure
end

-- The limit is used up: is it time to try more? Only under full use, and only while nobody is refused.
local function raise(policy, s, now)
  if s.used < s.limit or s.trial or not (s.quota.guessed or s.learned) then return end
  local key, window = limit_key(s.scope), policy.window
  if not s.raise_at then
    redis.call("HSET", key, "raise_at", now + window)
  elseif now >= tonumber(s.raise_at) then
    if s.patience and not s.probing then
      -- A refusal has shown the limit: one more, and time to see.
      redis.call("HSET", key, "learned", s.limit + 1, "learned_at", now, "probing", 1, "raise_at", now + 2 * window)
    else
      redis.call("HSET", key, "learned", math.ceil(s.limit * 1.25), "learned_at", now, "raise_at", now + window)
      redis.call("HDEL", key, "probing", "patience")
    end
    local learned = tonumber(redis.call("HGET", key, "learned"))
    if not s.quota.guessed and learned >= s.quota.rpm then
      redis.call("HDEL", key, "learned", "learned_at", "raise_at", "probing", "patience")
    end
    s.learned = redis.call("HGET", key, "learned")
    s.limit = limit_of(s.quota, s.learned)
  end
end

-- A call was refused: as many as were let through within the window is the limit. `begun_at`: when it was begun.
local function lower(policy, s, now, begun_at, hold_until)
  local key = limit_key(s.scope)
  redis.call("HINCRBY", key, "refused", 1)
  if s.quota.rpm == 0 then return end
  -- Those about to leave our window may have left the provider's; those that were let go have not been sent.
  local through = redis.call("ZCOUNT", requests_key(s.scope), now + math.floor(policy.arrival / 2), "+inf")
    - redis.call("ZCOUNT", calls_key(s.scope), "-inf", now + policy.grant)
  local last = tonumber(s.refused_at or 0)
  -- A refusal of the first few is hardly about their number: half of the limit is believed at once, not less.
  local limit = math.min(s.limit, math.max(through, math.ceil(s.limit / 2)))
  if begun_at > last and begun_at - last < 4 * policy.window and not s.probing then
    -- Refused soon again, so counting is not all of it. Not for those that were under way together.
    limit = math.max(1, math.min(limit, math.floor(s.limit * 0.9)))
  end
  local patience = tonumber(s.patience or PATIENCE)
  if s.probing then patience = math.min(patience * 2, PATIENCE_MOST) end
  redis.call("HSET", key, "learned", limit, "learned_at", now, "refused_at", now, "patience", patience,
    "raise_at", hold_until + patience * policy.window, "proven", math.min(limit, tonumber(s.proven or 0)))
  redis.call("HDEL", key, "probing")
end

-- The highest seen lately: it is met at once, and left slowly.
local function lately(old, new)
  return math.max(new, tonumber(old or new) * 0.95 + new * 0.05)
end

-- A call was answered: so many are proven to be let through, and this is what prompts and answers take, lately.
local function prove(s, answer, prompt, estimated)
  local key = limit_key(s.scope)
  if s.trial then redis.call("HDEL", key, "trial") end
  if s.quota.guessed and s.used - s.calls > tonumber(s.proven or 0) then
    redis.call("HSET", key, "proven", s.used - s.calls)
  end
  if answer > 0 then
    redis.call("HSET", key, "output", math.ceil(lately(s.output, answer)))
    if estimated > 0 then redis.call("HSET", key, "ratio", string.format("%.4f", lately(s.ratio, prompt / estimated))) end
  end
end

local function hold(scope, until_ms)
  local key = limit_key(scope)
  local held = tonumber(redis.call("HGET", key, "until") or 0)
  redis.call("HSET", key, "until", math.max(held, until_ms), "step", 1, "wake_at", 0, "trial", 1)
end

-- All of a job's scopes: when there is room in every one, the one that is last, what is sure, and each with its tokens.
local function verdict(policy, names, now, j)
  local at, sure, by, states = now, now, nil, {}
  for _, name in ipairs(names) do
    local s = look(policy, name, now)
    raise(policy, s, now)
    s.wanted = tokens_of(s, j)
    local here, sure_here = room_at(policy, s, now, s.wanted)
    if here > at then at, by = here, s end
    sure = math.max(sure, sure_here)
    states[#states + 1] = s
  end
  return at, by, sure, states
end

-- Book a call in all its scopes, or strike it out before it was begun.
local function book(policy, states, call, now, request_until, call_until)
  for _, s in ipairs(states) do
    redis.call("ZADD", requests_key(s.scope), request_until, call)
    redis.call("ZADD", calls_key(s.scope), call_until, call)
    set_tokens(s.scope, call, s.wanted, call_until)
    redis.call("HSET", limit_key(s.scope), "given_at", now)
  end
end

local function unbook(names, call)
  for _, name in ipairs(names) do
    redis.call("ZREM", requests_key(name), call)
    redis.call("ZREM", calls_key(name), call)
    set_tokens(name, call, 0)
  end
end

local function count_day(policy, scope, now, n)
  local key, day = limit_key(scope), days(policy, now)
  if tonumber(redis.call("HGET", key, "day") or -1) ~= day then redis.call("HSET", key, "day", day, "day_used", 0) end
  if redis.call("HINCRBY", key, "day_used", n) < 0 then redis.call("HSET", key, "day_used", 0) end
end

-- The call is about to be made: it counts until a window after it may have arrived, and is in flight.
local function begin(policy, names, call, now)
  local request_until = now + policy.arrival + policy.window + SPARE
  for _, name in ipairs(names) do
    redis.call("ZADD", requests_key(name), request_until, call)
    redis.call("ZADD", calls_key(name), now + policy.longest + policy.window, call)
    if redis.call("ZSCORE", tokens_key(name), call) then
      redis.call("ZADD", tokens_key(name), now + policy.longest + policy.window, call)
    end
    count_day(policy, name, now, 1)
    redis.call("HINCRBY", limit_key(name), "asked", 1)
  end
end

-- A call is over. `begun_at` is the moment of `begin`, `sent_ms` when after that it was sent (-1: not known), `sends`
-- how often, `tokens` what it took (-1: not known, so what was booked). Told twice it changes nothing the second time.
local function over(policy, names, call, now, begun_at, sent_ms, sends, tokens)
  local was_ours = false
  for _, name in ipairs(names) do
    if redis.call("ZREM", calls_key(name), call) == 1 then
      was_ours = true
      if sends == 0 then
        redis.call("ZREM", requests_key(name), call)
        count_day(policy, name, now, -1)
      else
        -- It had arrived when it was answered, and some time after it was sent at the latest.
        local arrived = sent_ms < 0 and now or math.min(now, begun_at + sent_ms + policy.arrival)
        if arrived + policy.window + SPARE > now then
          redis.call("ZADD", requests_key(name), arrived + policy.window + SPARE, call)
        end
        for n = 2, sends do redis.call("ZADD", requests_key(name), now + policy.window + SPARE, call .. "." .. n) end
      end
      local booked = tonumber(redis.call("HGET", spent_key(name), call) or 0)
      if booked > 0 or (tokens > 0 and policy.scopes[name] and policy.scopes[name].tpm > 0) then
        if sends == 0 then tokens = 0 end
        set_tokens(name, call, tokens < 0 and booked or tokens, now + policy.window + SPARE)
      end
    end
  end
  return was_ours
end

-- When it is the turn of a job with so many before it: they take their share of the windows and days to come.
local function turn_at(policy, s, limit, at, ahead)
  local later = limit < math.huge and math.floor(ahead / limit) * policy.window or 0
  local rpd = s.quota.rpd
  if rpd > 0 then later = math.max(later, math.floor((s.day_used + ahead) / rpd) * policy.window * 1440) end
  return at + later
end

-- The names in a job's `scopes`, as far as they still have a quota.
local function names_of(policy, text)
  local names = {}
  for name in (text or ""):gmatch("%S+") do
    if policy.scopes[name] then names[#names + 1] = name end
  end
  return names
end

-- Let those go that have room, in their order: interactive before batch, the older first. Nobody passes the first of a
-- line, or a large one would wait for ever. Returns when to look again (nil: nobody waits).
local function give(policy, scope, now, send)
  for _ = 1, GIVEN_MOST do
    local id = redis.call("ZRANGE", parked_key(scope), 0, 0)[1]
    if not id then
      redis.call("SREM", "tandem:limits", scope)
      return nil
    end
    local key = job_key(id)
    local j = fields_of(key, "epoch", "scopes", "prompt_tokens", "most_tokens")
    if not j.epoch then
      redis.call("ZREM", parked_key(scope), id)
    else
      local at, by, _, states = verdict(policy, names_of(policy, j.scopes or scope), now, j)
      if at > now and by.scope == scope then return at end
      redis.call("ZREM", parked_key(scope), id)
      if at > now then
        park(id, key, now, by.scope, at)
      else
        local stays = now + policy.grant
        book(policy, states, id .. "." .. (j.epoch + 1), now, stays, stays)
        for _, part in ipairs(enqueue(id, key, now)) do send[#send + 1] = part end
      end
    end
  end
  return now
end
