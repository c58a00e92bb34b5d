-- with batch
-- Write the items of one chunk of a batch's lines, and what their shards will be composed of. Applied once: a chunk that
-- was written before changes nothing. Refused by a full Redis: the step is tried again.
--   KEYS  batch:{id}, names of its items (hash custom_id → n), its invalid items (list), the chunk (list of lines),
--         its loads (list)
--   ARGV  batch, chunk number, priority, loads (JSON: [text of each, …]), invalid (the same), ttl_s, then for each item:
--         id, custom_id, n, where its answer may be shared answer:{question} and flight:{flight} and its message
--         (else ""), number of its fields * 2, field, value, …
--   returns "gone" the batch is over | "known" | "written"
local batch, chunk, now = KEYS[1], tonumber(ARGV[2]), now_ms()
local b = fields_of(batch, "status", "expanded", "expires_at", "owner")
if b.status ~= "validating" then return "gone" end
if tonumber(b.expanded or 0) > chunk then return "known" end

local ttl_s, doubled, queued, i = ARGV[6], {}, {}, 7
while i <= #ARGV do
  local id, name, n, answer, flight, message = unpack(ARGV, i, i + 5)
  local count = tonumber(ARGV[i + 6])
  if redis.call("HSETNX", KEYS[2], name, n) == 0 and redis.call("HGET", KEYS[2], name) ~= n then
    doubled[#doubled + 1] = {line = tonumber(n), custom_id = name, code = "duplicate_custom_id", field = "custom_id",
      message = "the custom_id '" .. name .. "' is that of an earlier item"}
  else
    redis.call("HSET", job_key(id), "version", RECORD_VERSION, "status", "pending", "phase", "shard", "epoch", 0, "tries", 0, "crashes", 0,
      "engine_losses", 0, "owner", b.owner, "batch", ARGV[1], "line", n, "custom_id", name, "priority", ARGV[3],
      "created_at", now, "expires_at", b.expires_at, unpack(ARGV, i + 7, i + 6 + count))
    keep_room(id, job_key(id))
    local queue = redis.call("HGET", job_key(id), "queue")
    queued[queue] = (queued[queue] or 0) + 1
    -- One whose answer is there, or under way, is not its shard's any more.
    if flight ~= "" then board(id, job_key(id), now, answer, flight:sub(#flight_key("") + 1), message, ttl_s) end
  end
  i = i + 7 + count
end
for queue, n in pairs(queued) do count_queued(ARGV[1], queue, n) end
for _, text in ipairs(cjson.decode(ARGV[4])) do redis.call("RPUSH", KEYS[5], text) end
local invalid = cjson.decode(ARGV[5])
for _, text in ipairs(invalid) do redis.call("RPUSH", KEYS[3], text) end
-- Told where they are counted: all that is counted can be read.
for _, one in ipairs(doubled) do redis.call("RPUSH", KEYS[3], cjson.encode(one)) end
drop_chunk(KEYS[4])
redis.call("HSET", batch, "expanded", chunk + 1)
redis.call("HINCRBY", batch, "invalid", #invalid + #doubled)
return "written"
