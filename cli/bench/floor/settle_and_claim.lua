-- settle_and_claim.lua: one round of a cycle of the floor: remove the jobs that are done, put those that failed back, lease the next ones.
-- Guarantee: only that the script is atomic; there is no token, counter, history or replay protection.
-- KEYS    1 ready, a list; 2 lease, a zset; 3 job, a hash
-- ARGV    1 most jobs, 2 expiry ms, 3 how many ids follow that are done; those ids; then the ids that failed
-- Reply   {ids, bodies}
local done, failed = {}, {}
for i = 4, 3 + ARGV[3] do done[i - 3] = ARGV[i] end
for i = 4 + ARGV[3], #ARGV do failed[#failed + 1] = ARGV[i] end
if #done > 0 then
  redis.call('ZREM', KEYS[2], unpack(done))
  redis.call('HDEL', KEYS[3], unpack(done))
end
if #failed > 0 then
  redis.call('ZREM', KEYS[2], unpack(failed))
  redis.call('LPUSH', KEYS[1], unpack(failed))
end
local ids = redis.call('RPOP', KEYS[1], ARGV[1])
if not ids then return { {}, {} } end
local leases = {}
for i = 1, #ids do leases[2 * i - 1], leases[2 * i] = ARGV[2], ids[i] end
redis.call('ZADD', KEYS[2], unpack(leases))
return { ids, redis.call('HMGET', KEYS[3], unpack(ids)) }
