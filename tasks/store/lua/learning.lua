-- The governor's learning: refusals lower a limit, full use without them raises it. After rate.lua.

-- Windows of full use before one more request is tried where a refusal has shown the limit. Doubled by each refusal.
local PATIENCE, PATIENCE_MOST = 15, 1440

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

-- A call was refused: as many as were let through within the window is the limit. `begun_at`: when it was sent, or begun.
local function lower(policy, s, now, begun_at, hold_until)
  local key = limit_key(s.scope)
  redis.call("HINCRBY", key, "refused", 1)
  if s.quota.rpm == 0 then return end
  -- Those about to leave our window may have left the provider's; those that were let go have not been sent.
  local through = redis.call("ZCOUNT", requests_key(s.scope), now + math.floor(policy.arrival / 2), "+inf")
    - redis.call("ZCOUNT", calls_key(s.scope), "-inf", now + policy.grant)
  local last = tonumber(s.refused_at or 0)
  -- A refusal of the first few is hardly about their number: half of the limit is believed at once, not less.
  -- Of those that were under way together each may show that fewer were let through, but half is believed only once.
  local from = begun_at <= last and tonumber(s.lowered_from) or s.limit
  local limit = math.min(s.limit, math.max(through, math.ceil(from / 2)))
  if begun_at > last and begun_at - last < 4 * policy.window and not s.probing then
    -- Refused soon again, so counting is not all of it. Not for those that were under way together.
    limit = math.max(1, math.min(limit, math.floor(s.limit * 0.9)))
  end
  local patience = tonumber(s.patience or PATIENCE)
  if s.probing then patience = math.min(patience * 2, PATIENCE_MOST) end
  redis.call("HSET", key, "learned", limit, "learned_at", now, "refused_at", now, "lowered_from", from, "patience", patience,
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
