#!lua flags=allow-oom
-- A worker says hello and pushes on the leases of all it holds, in one round trip.
--   KEYS  workers, worker:{name}
--   ARGV  worker, lease_ms, keep_ms (how long its word stays), number of its fields * 2, field, value, …,
--         then id, epoch, id, epoch, …
--   returns {id, epoch, id, epoch, …} of those that are no longer its own: their calls are to be cut
local now, lost = now_ms(), {}
local stop = 4 + tonumber(ARGV[4])
redis.call("ZADD", KEYS[1], now, ARGV[1])
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now - tonumber(ARGV[3]))
if stop > 4 then redis.call("HSET", KEYS[2], unpack(ARGV, 5, stop)) end
redis.call("HSET", KEYS[2], "seen_at", now)
local me = fields_of(KEYS[2], "queues", "state", "model")
for queue in me.queues:gmatch("[^,]+") do
  redis.call("SADD", "tandem:served", queue)
  -- When an engine of ours was ready last, any and with this model: jobs that may go elsewhere wait for it so long only.
  if me.state == "ready" and (me.model or "") ~= "" then
    redis.call("HSET", "tandem:ready_at", queue, now, queue .. ":" .. me.model, now)
  end
end
redis.call("PEXPIRE", KEYS[2], ARGV[3])
for i = stop + 1, #ARGV, 2 do
  if alone(ARGV[i], is_owned, job_key(ARGV[i]), ARGV[i + 1] .. " " .. ARGV[1]) then
    redis.call("ZADD", "tandem:due", now + tonumber(ARGV[2]), ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
    lost[#lost + 1] = ARGV[i + 1]
  end
end
return lost
