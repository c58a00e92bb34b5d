#!lua flags=allow-oom
-- Note which queues an exchange leads to, as kombu does; also where Redis is full, or no worker could start.
--   KEYS  sets of bindings
--   ARGV  binding
for _, key in ipairs(KEYS) do redis.call("SADD", key, ARGV[1]) end
