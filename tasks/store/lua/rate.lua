-- The governor's books: what each scope (a provider's key, or one model there) has been asked, and for how long it
-- counts. Put after common.lua before the scripts that say `-- with rate`, with learning.lua and room.lua behind it.
--
-- What a scope may do comes with every call (the policy: JSON of tasks/quotas.py); what it has done is here:
--   tandem:limit:{scope}     hash
--     until                  a hold; trial: after one, a single call at a time until it was answered
--     learned, learned_at    requests per window that refusals have shown; refused_at; lowered_from: what the limit was before
--                            the first refusal of those that were under way together
--     raise_at               when full use may raise it; patience (windows), probing: one more is being tried
--     proven                 so many were let through in a window; given_at: when room was given last
--     day, day_used          requests of this day
--     spent                  sum of the tokens that count
--     output, ratio          tokens that answers take; a prompt's real tokens to those estimated
--     asked, refused         calls since the beginning
--   tandem:requests:{scope}  sorted set: call → until when it counts as a request
--   tandem:tokens:{scope}    sorted set: call → until when its tokens count;  tandem:spent:{scope}  hash: call → tokens
--   tandem:calls:{scope}     sorted set: call in flight → when it is over at the latest
-- A call is id.fence. A job that is let go has its call booked already, for as long as its message may take.

-- Both ends of a window are read in whole milliseconds.
local SPARE = 2
-- A provider of which nothing was said.
local UNLIMITED = {rpm = 0, tpm = 0, rpd = 0, calls = 0, guessed = false}

local function requests_key(scope) return "tandem:requests:" .. scope end
local function spent_key(scope) return "tandem:spent:" .. scope end

local function policy_of(json)
  return json ~= "" and cjson.decode(json) or {scopes = {}}
end

-- The names in a job's `scopes`, as far as they still have a quota.
local function names_of(policy, text)
  local names = {}
  for name in (text or ""):gmatch("%S+") do
    if policy.scopes[name] then names[#names + 1] = name end
  end
  return names
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
    "output", "raise_at", "probing", "patience", "refused_at", "ratio", "lowered_from")
  s.scope, s.quota = scope, policy.scopes[scope] or UNLIMITED
  s.limit = limit_of(s.quota, s.learned)
  s.used = redis.call("ZCARD", requests_key(scope))
  s.calls = redis.call("ZCARD", calls_key(scope))
  s.day_used = tonumber(s.day or -1) == days(policy, now) and tonumber(s.day_used) or 0
  return s
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

-- The call counts from now: until a window after it may have arrived, and as one in flight.
local function count_from(policy, name, call, now)
  redis.call("ZADD", requests_key(name), now + policy.arrival + policy.window + SPARE, call)
  redis.call("ZADD", calls_key(name), now + policy.longest + policy.window, call)
  redis.call("ZADD", tokens_key(name), "XX", now + policy.longest + policy.window, call)
end

-- The call is about to be made.
local function begin(policy, names, call, now)
  for _, name in ipairs(names) do
    count_from(policy, name, call, now)
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
        if days(policy, begun_at) == days(policy, now) then count_day(policy, name, now, -1) end
      else
        -- It had arrived when it was answered, and some time after it was sent at the latest.
        local arrived = sent_ms < 0 and now or math.min(now, begun_at + sent_ms + policy.arrival)
        if arrived + policy.window + SPARE > now then
          redis.call("ZADD", requests_key(name), arrived + policy.window + SPARE, call)
        end
        for n = 2, sends do redis.call("ZADD", requests_key(name), now + policy.window + SPARE, call .. "." .. n) end
        if sends > 1 then count_day(policy, name, now, sends - 1) end
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
