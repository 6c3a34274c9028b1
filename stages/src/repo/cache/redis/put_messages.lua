-- KEYS: the messages, their newest seq. ARGV: a lifetime in s; how many are kept if there are not more already, and
-- how many at most; 'begin', or 'go on' with what is there; then seq, record, seq, record …
local messages, newest_key = KEYS[1], KEYS[2]
local lifetime, least, most, begins = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == 'begin'
local first, last = ARGV[5], ARGV[#ARGV - 1]
local there = redis.call('ZCARD', messages)
if there == 0 and not begins then return end
if there > 0 then redis.call('ZREMRANGEBYSCORE', messages, first, last) end
redis.call('ZADD', messages, unpack(ARGV, 5))
local newest = redis.call('GET', newest_key) or '0'
if tonumber(last) > tonumber(newest) then newest = last end
redis.call('SET', newest_key, newest, 'EX', lifetime)
local kept = math.min(most, math.max(least, there))
-- As digits: Lua would write large numbers with an exponent.
redis.call('ZREMRANGEBYSCORE', messages, '-inf', string.format('%.0f', tonumber(newest) - kept))
redis.call('EXPIRE', messages, lifetime)
