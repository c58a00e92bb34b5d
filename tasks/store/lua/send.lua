#!lua flags=allow-oom
-- Send messages of one queue and priority, also where Redis is full: what was accepted goes on.
--   KEYS  the list that Celery's workers pop from, at its end
--   ARGV  ahead (0: they go behind all others, 1: before them), then the messages in the order in which they are pushed
redis.call(ARGV[1] == "1" and "RPUSH" or "LPUSH", KEYS[1], unpack(ARGV, 2))
