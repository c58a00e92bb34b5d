-- Forget some of the lines of an upload that came to nothing. Those of a batch that was accepted after all stay: whoever
-- asked for it may not have heard of it.
--   KEYS  batch:{id}, chunk, chunk, …
--   returns how many were there
if redis.call("EXISTS", KEYS[1]) == 1 then return 0 end
return redis.call("UNLINK", unpack(KEYS, 2))
