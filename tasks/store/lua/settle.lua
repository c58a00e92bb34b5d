#!lua flags=allow-oom
-- Settle a job: write its result and its terminal state, if the caller still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence, status, ttl_s, outcome, reason, more about the attempt (JSON), then field, value, …
--   returns 1 settled, 0 not the owner any more (nothing was written)
local DAY_MS, USAGE_KEPT_S = 86400000, 100 * 86400
local key, id = KEYS[1], ARGV[1]

-- What an owner has used, by day (UTC), provider and model: counted where a job ends, so once. A batch sums it up too.
local function count_usage(owner, batch, last, now)
  local usage_key = "tandem:usage:" .. owner .. ":" .. math.floor(now / DAY_MS)
  local line = last.provider .. " " .. last.model .. " "
  redis.call("HINCRBY", usage_key, line .. "requests", 1)
  for name, count in pairs(last.usage) do
    if type(count) == "number" then
      redis.call("HINCRBY", usage_key, line .. name, count)
      if batch then redis.call("HINCRBY", batch_key(batch), "used " .. name, count) end
    end
  end
  redis.call("EXPIRE", usage_key, USAGE_KEPT_S)
end

if not is_owned(key, ARGV[2]) then return 0 end
local now = now_ms()
if #ARGV > 7 then redis.call("HSET", key, unpack(ARGV, 8)) end
local last = close_attempt(key, now, ARGV[5], ARGV[6], ARGV[7])
if last and last.usage then
  local j = fields_of(key, "owner", "batch")
  count_usage(j.owner, j.batch, last, now)
end
finish(id, key, now, ARGV[3], ARGV[4])
return 1
