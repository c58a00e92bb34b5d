#!lua flags=no-writes
-- Look through one of an owner's lists of jobs, newest first, for those that match.
--   KEYS  a list: of all the owner's jobs, of the open ones, or of those that ended so
--   ARGV  below (a score, as ZREVRANGEBYSCORE takes it), how many to look at, status and model ("" = any)
--   returns {the score to go on behind ("" = there is nothing behind), {ids that have no record}, id,
--            bytes of its result, id, …}
local entries = redis.call("ZREVRANGEBYSCORE", KEYS[1], ARGV[1], "-inf", "WITHSCORES", "LIMIT", 0, ARGV[2])
local gone, found = {}, {"", {}}
for i = 1, #entries, 2 do
  local key = job_key(entries[i])
  local j = fields_of(key, "status", "model")
  if not j.status then
    gone[#gone + 1] = entries[i]
  elseif (ARGV[3] == "" or j.status == ARGV[3]) and (ARGV[4] == "" or j.model == ARGV[4]) then
    found[#found + 1] = entries[i]
    found[#found + 1] = redis.call("HSTRLEN", key, "result")
  end
end
if #entries == 2 * tonumber(ARGV[2]) then found[1] = entries[#entries] end
found[2] = gone
return found
