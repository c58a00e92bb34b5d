-- The governor's judgement: when there is room, and who gets it. After learning.lua.

-- Where nothing tells when there will be room, a look again after this.
local LOOK = 1000
-- So many requests at once are believed of any provider.
local FREE = 5
-- Tokens of an answer whose request bounds it by nothing, until answers have shown what they take.
local OUTPUT = 256
-- Jobs let go in one step at the most.
local GIVEN_MOST = 25

-- Tokens that a job may take here.
local function tokens_of(s, j)
  if s.quota.tpm == 0 then return 0 end
  local answer = tonumber(j.most_tokens) or 0
  if answer == 0 then answer = tonumber(s.output or OUTPUT) end
  return math.min(math.ceil((tonumber(j.prompt_tokens) or 0) * tonumber(s.ratio or 1)) + answer, s.quota.tpm)
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

-- When it is the turn of a job with so many before it: they take their share of the windows and days to come.
local function turn_at(policy, s, limit, now, at, ahead)
  local turn, rpd, day = at, s.quota.rpd, policy.window * 1440
  if limit < math.huge then turn = turn + math.floor(ahead / limit) * policy.window end
  local beyond_today = ahead - math.max(0, rpd - s.day_used)
  if rpd > 0 and beyond_today >= 0 then
    turn = math.max(turn, (days(policy, now) + 1 + math.floor(beyond_today / rpd)) * day)
  end
  return turn
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
