-- What followers ask of the control database and, of the databases' counters, of each server.

-- name: join
-- One shared lock per process, named for what it follows: those who follow the same divide it.
SELECT pg_advisory_lock_shared(hashtextextended('daicho.followers:' || $1, 0))

-- name: count_peers
SELECT count(*)
  FROM pg_locks AS l, hashtextextended('daicho.followers:' || $1, 0) AS k
 WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid = ((k >> 32) & 4294967295)::oid AND l.objid = (k & 4294967295)::oid

-- name: try_lead
-- Of the tenants named, the first $2 that have no leader; this session leads them from now on.
SELECT tenant_id
  FROM (SELECT tenant_id FROM unnest($1::text[]) AS t (tenant_id)
         WHERE pg_try_advisory_lock(hashtextextended('daicho.follow:' || tenant_id, 0))
         LIMIT $2) AS led

-- name: cease_to_lead
SELECT pg_advisory_unlock(hashtextextended('daicho.follow:' || $1, 0))

-- name: leaders
-- Who leads which of these tenants, by the name that the process gave its session.
SELECT t.tenant_id, a.application_name
  FROM unnest($1::text[]) AS t (tenant_id)
 CROSS JOIN LATERAL hashtextextended('daicho.follow:' || t.tenant_id, 0) AS k
  JOIN pg_locks AS l
    ON l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.classid = ((k >> 32) & 4294967295)::oid AND l.objid = (k & 4294967295)::oid
  JOIN pg_stat_activity AS a ON a.pid = l.pid

-- name: insertions
-- How many rows were ever inserted into each database: a number that moves where something was recorded.
SELECT datname, tup_inserted FROM pg_stat_database WHERE datname = ANY($1::text[])
