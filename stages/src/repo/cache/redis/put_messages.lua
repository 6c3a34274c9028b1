-- KEYS: the messages, their newest seq. ARGV: a lifetime in s, how many are kept, then seq, record, seq, record …
local messages, newest_key = KEYS[1], KEYS[2]
local lifetime, kept = ARGV[1], tonumber(ARGV[2])
local first, last = ARGV[3], ARGV[#ARGV - 1]
redis.call('ZREMRANGEBYSCORE', messages, first, last)
redis.call('ZADD', messages, unpack(ARGV, 3))
local newest = redis.call('GET', newest_key) or '0'
if tonumber(last) > tonumber(newest) then newest = last end
redis.call('SET', newest_key, newest, 'EX', lifetime)
-- As digits: Lua would write large numbers with an exponent.
redis.call('ZREMRANGEBYSCORE', messages, '-inf', string.format('%.0f', tonumber(newest) - kept))
redis.call('EXPIRE', messages, lifetime)
