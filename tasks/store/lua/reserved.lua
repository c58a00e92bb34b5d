-- Room in Redis for answers to come. Put before common.lua.
--
-- A job's record says what its answer will take, estimated (`answer_bytes`; without it nothing is kept). So much is kept
-- from when the record is written, or put back for another round, until the job has ended, when the answer is there:
--   tandem:reserved        hash: job, or batch for all of its items → bytes
--   tandem:reserved_bytes  their sum, which counts as used when it is asked whether there is room for more jobs
-- What is kept under a name is given back from there, so no more than was kept, and not twice.

local RESERVED, RESERVED_BYTES = "tandem:reserved", "tandem:reserved_bytes"

-- What is kept under a name is free, or `most` bytes of it.
local function free_room(name, most)
  most = most or tonumber(redis.call("HGET", RESERVED, name) or 0)
  if most <= 0 then return end
  local left = redis.call("HINCRBY", RESERVED, name, -most)
  redis.call("DECRBY", RESERVED_BYTES, most + math.min(left, 0))
  if left > 0 then return end
  redis.call("HDEL", RESERVED, name)
  if redis.call("EXISTS", RESERVED) == 0 then redis.call("DEL", RESERVED_BYTES) end
end

-- The name under which a record's room is kept, its bytes, and whether others' is kept there too.
local function room_of(id, key)
  local batch, bytes = unpack(redis.call("HMGET", key, "batch", "answer_bytes"))
  return batch or id, tonumber(bytes or 0) or 0, batch
end

-- A job is unfinished from now on.
local function keep_room(id, key)
  local name, bytes = room_of(id, key)
  if bytes <= 0 then return end
  redis.call("HINCRBY", RESERVED, name, bytes)
  redis.call("INCRBY", RESERVED_BYTES, bytes)
end

-- An unfinished job ends, or its record is erased.
local function free_answer(id, key)
  local name, bytes, is_shared = room_of(id, key)
  if bytes > 0 then free_room(name, is_shared and bytes) end
end
