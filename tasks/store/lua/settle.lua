#!lua flags=allow-oom
-- with circuit
-- Settle a job: write its result and its terminal state, if the caller still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence, status, ttl_s, outcome, reason, more about the attempt (JSON), told (what the call has shown of
--         its circuit: circuit.lua), then field, value, …
--   returns 1 settled, 0 not the owner any more (nothing was written)
local DAY_MS, USAGE_KEPT_S = 86400000, 100 * 86400
local key, id = KEYS[1], ARGV[1]

-- What an owner has used, by day (UTC), provider and model: counted where a job ends, so once.
local function count_usage(owner, last, now)
  local usage_key = "tandem:usage:" .. owner .. ":" .. math.floor(now / DAY_MS)
  local line = last.provider .. " " .. last.model .. " "
  redis.call("HINCRBY", usage_key, line .. "requests", 1)
  for name, count in pairs(last.usage) do
    if type(count) == "number" then redis.call("HINCRBY", usage_key, line .. name, count) end
  end
  redis.call("EXPIRE", usage_key, USAGE_KEPT_S)
end

if not is_owned(key, ARGV[2]) then return 0 end
local now = now_ms()
tell_circuit(ARGV[8], id .. "." .. ARGV[2], now)
if #ARGV > 8 then redis.call("HSET", key, unpack(ARGV, 9)) end
local last = close_attempt(key, now, ARGV[5], ARGV[6], ARGV[7])
if last and last.usage then count_usage(redis.call("HGET", key, "owner"), last, now) end
finish(id, key, now, ARGV[3], ARGV[4])
return 1
