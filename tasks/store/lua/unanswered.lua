-- What has to be known of those of some items that ended without an answer, for another round.
--   KEYS  (none)
--   ARGV  bytes of a request that are wanted, then id, id, …
--   returns {line, queue, target, patience or "", prompt_tokens, most_tokens, how the request begins, line, …}
local found = {}
for i = 2, #ARGV do
  local j = fields_of(job_key(ARGV[i]), "status", "line", "queue", "target", "patience", "prompt_tokens", "most_tokens")
  if j.status == "failed" or j.status == "cancelled" or j.status == "expired" then
    local request = redis.call("HGET", job_key(ARGV[i]), "request") or ""
    -- No half of a character at the end: whoever reads it wants UTF-8.
    if #request > ARGV[1] + 4 then request = request:sub(1, ARGV[1] + 4):gsub("[\192-\255][\128-\191]*$", "") end
    for _, part in ipairs({j.line, j.queue, j.target, j.patience or "", j.prompt_tokens or "0", j.most_tokens or "0", request}) do
      found[#found + 1] = part
    end
  end
end
return found
