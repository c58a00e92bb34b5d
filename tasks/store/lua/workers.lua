#!lua flags=no-writes
-- The workers that said hello within a lease, and what each says of itself: all that a route needs, in one round trip.
--   KEYS  workers (zset)
--   ARGV  lease_ms
--   returns {{field, value, …}, …}
local said = {}
for _, name in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], now_ms() - tonumber(ARGV[1]), "+inf")) do
  said[#said + 1] = redis.call("HGETALL", "tandem:worker:" .. name)
end
return said
