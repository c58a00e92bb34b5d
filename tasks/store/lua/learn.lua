#!lua flags=allow-oom
-- Remember what a call told of a model.
--   KEYS  learned:{provider} (hash), retired:{provider}:{model} (string)
--   ARGV  model, state, retired_on ("" = not said), why (what clients of a retired model are told), keep_s (how long a
--         retirement is believed), how many models are remembered at the most
--   returns 1
local model, state = ARGV[1], ARGV[2]
if state == "retired" then
  redis.call("SET", KEYS[2], ARGV[4], "EX", ARGV[5])
elseif state == "callable" then
  redis.call("DEL", KEYS[2])
end
if redis.call("HEXISTS", KEYS[1], model) == 1 or redis.call("HLEN", KEYS[1]) < tonumber(ARGV[6]) then
  redis.call("HSET", KEYS[1], model, cjson.encode({state = state, checked_at = now_ms(), retired_on = ARGV[3]}))
end
return 1
