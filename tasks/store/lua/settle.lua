#!lua flags=allow-oom
-- with circuit
-- Settle a job: write its result and its terminal state, if the caller still owns it.
--   KEYS  job:{id}
--   ARGV  id, fence (epoch and worker), status, ttl_s, outcome, reason, more about the attempt (JSON), told (what the call has shown of
--         its circuit: circuit.lua), then field, value, …
--   returns 1 settled, 0 not the owner any more (nothing was written)
local key, id, status = KEYS[1], ARGV[1], ARGV[3]
local j = fields_of(key, "owner", "batch", "question", "asked_of", "cache_for_s")
if not is_owned(key, ARGV[2]) then return 0 end
local now = now_ms()
tell_circuit(ARGV[8], call_of(id, ARGV[2]), now)
if #ARGV > 8 then redis.call("HSET", key, unpack(ARGV, 9)) end
local last, asked_of = close_attempt(key, now, ARGV[5], ARGV[6], ARGV[7])
if last and j.batch then note_simulated(j.batch, last.provider) end
if last and last.usage then
  -- Where a job ends, so once.
  local line = last.provider .. " " .. last.model .. " "
  count(j.owner or "", now, line, {requests = 1})
  count(j.owner or "", now, line, last.usage)
  if j.batch then add_up(batch_key(j.batch), "used ", last.usage) end
end
if j.question and j.cache_for_s and status == "completed" and asked_of == j.asked_of then
  redis.call("SET", answer_key(j.question), id, "EX", j.cache_for_s)
end
finish(id, key, now, status, ARGV[4])
return 1
