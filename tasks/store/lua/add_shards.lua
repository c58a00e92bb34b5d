-- with batch
-- Add some of the shards that carry a batch's items, in their order. Applied once: those that are there are passed over.
-- Refused by a full Redis: the step is tried again.
--   KEYS  batch:{id}, its shards (list)
--   ARGV  batch, how many shards are before these, step_keep_ms, priority, then for each: name, queue, target,
--         request (JSON), patience (ms) or ""
--   returns how many there are now; -1 it is not being read any more, nothing was added
local b = fields_of(KEYS[1], "status", "giving_up")
if b.status ~= "validating" or b.giving_up then return -1 end
local now, there = now_ms(), redis.call("LLEN", KEYS[2])
for i = 5 + 5 * math.max(0, there - ARGV[2]), #ARGV, 5 do
  local name, queue, target, request, patience = unpack(ARGV, i, i + 4)
  new_step(ARGV[1], name, queue, ARGV[4], now, tonumber(ARGV[3]), "step", "shard", "request", request,
    "target", target, unpack(patience ~= "" and {"patience", patience} or {}))
  there = redis.call("RPUSH", KEYS[2], name)
end
return there
