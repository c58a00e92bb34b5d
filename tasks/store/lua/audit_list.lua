#!lua flags=allow-oom
-- Put an owner's jobs into the list of those that stand as they do, some at a time: those that were accepted, or ended, by
-- a version that does not know these lists. Looks at what came since the last time, and at what is open.
--   KEYS  owner's list of jobs
--   ARGV  how many to look at, how long after the last time nothing is to be done (ms), age_s (how long the lists are kept)
--   returns 1 there is more to be done, 0 nothing
local list, state, now = KEYS[1], KEYS[1] .. ":audit", now_ms()
local s = fields_of(state, "at", "behind", "open_behind")
if s.at and tonumber(s.at) + tonumber(ARGV[2]) > now and tonumber(s.at) <= now then return 0 end

local function go_through(from, field, behind)
  local entries = redis.call("ZRANGEBYSCORE", from, behind and "(" .. behind or "-inf", "+inf", "WITHSCORES",
    "LIMIT", 0, ARGV[1])
  for i = 1, #entries, 2 do
    local id, at = entries[i], entries[i + 1]
    local status = redis.call("HGET", job_key(id), "status")
    local is_open = status == "pending" or status == "processing"
    if not is_open then redis.call("ZREM", list .. ":open", id) end
    if status then
      redis.call("ZADD", list .. ":" .. (is_open and "open" or status), at, id)
      if not is_open then redis.call("EXPIRE", list .. ":" .. status, ARGV[3]) end
    end
  end
  if #entries > 0 then redis.call("HSET", state, field, entries[#entries]) end
  redis.call("EXPIRE", state, ARGV[3])
  return #entries == 2 * tonumber(ARGV[1])
end

if go_through(list, "behind", s.behind) or go_through(list .. ":open", "open_behind", s.open_behind) then return 1 end
redis.call("HDEL", state, "open_behind")
redis.call("HSET", state, "at", now)
redis.call("EXPIRE", state, ARGV[3])
return 0
