-- What a rebuild asks of a tenant's catalogue. Statements that this file makes, from names that PostgreSQL
-- quotes, are executed as they come back.

-- name: try_lock
-- One rebuild of a projection at a time; held by the session.
SELECT pg_try_advisory_lock(hashtextextended('daicho.rebuild:' || $1, 0))

-- name: leftovers
-- The new tables of rebuilds of the projection $1 that did not end.
SELECT c.relname FROM pg_class AS c
 WHERE c.relnamespace = 'projection'::regnamespace AND c.relkind = 'r'
   AND c.relname ~ ('^\$[0-9a-f]{8}_[0-9]+_' || $1 || '$')

-- name: is_there
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'projection'::regnamespace AND relname = $1)

-- name: likeness
-- Gives the table $2 what LIKE leaves out of $1: who may read it, its comment, its storage parameters.
SELECT format('REVOKE ALL ON projection.%I FROM %s', $2::text, g.grantee)
  FROM pg_class AS c, aclexplode(c.relacl) AS a,
       LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(a.grantee::regrole::text) END) AS g (grantee)
 WHERE c.oid = format('projection.%I', $2::text)::regclass AND a.grantee <> c.relowner
 GROUP BY g.grantee
UNION ALL
SELECT format('GRANT %s ON projection.%I TO %s%s', a.privilege_type, $2::text,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_class AS c, aclexplode(c.relacl) AS a
 WHERE c.oid = format('projection.%I', $1::text)::regclass AND a.grantee <> c.relowner
UNION ALL
SELECT format('GRANT %s (%I) ON projection.%I TO %s%s', a.privilege_type, t.attname, $2::text,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_attribute AS t, aclexplode(t.attacl) AS a
 WHERE t.attrelid = format('projection.%I', $1::text)::regclass AND NOT t.attisdropped
UNION ALL
SELECT format('COMMENT ON TABLE projection.%I IS %L', $2::text, obj_description(c.oid, 'pg_class'))
  FROM pg_class AS c
 WHERE c.oid = format('projection.%I', $1::text)::regclass AND obj_description(c.oid, 'pg_class') IS NOT NULL
UNION ALL
SELECT format('ALTER TABLE projection.%I SET (%s)', $2::text, array_to_string(c.reloptions, ', '))
  FROM pg_class AS c
 WHERE c.oid = format('projection.%I', $1::text)::regclass AND c.reloptions IS NOT NULL

-- name: says_of_vacuum
-- Whether the table $1 says for itself if autovacuum is to look after it.
SELECT coalesce(reloptions::text LIKE '%autovacuum\_enabled%', false) FROM pg_class
 WHERE oid = format('projection.%I', $1::text)::regclass

-- name: indexes
-- The indexes of the table $1 and the statements that make them on the table $2, under the names
-- `$2.n`, and those they give up their names for, `$3.n`; `constraint` is p or u where one belongs to a constraint.
SELECT i.relname AS name, left($2::text, 55) || '.' || row_number() OVER (ORDER BY i.oid) AS new_name,
       left($3::text, 55) || '.' || row_number() OVER (ORDER BY i.oid) AS old_name,
       replace(pg_get_indexdef(i.oid),
               format(' INDEX %I ON projection.%I USING ', i.relname, $1::text),
               format(' INDEX %I ON projection.%I USING ',
                      left($2::text, 55) || '.' || row_number() OVER (ORDER BY i.oid), $2::text)) AS statement,
       k.contype::text AS constraint_type,
       obj_description(i.oid, 'pg_class') AS comment
  FROM pg_index AS x
  JOIN pg_class AS i ON i.oid = x.indexrelid
  LEFT JOIN pg_constraint AS k ON k.conindid = i.oid AND k.contype IN ('p', 'u')
 WHERE x.indrelid = format('projection.%I', $1::text)::regclass AND x.indisvalid
 ORDER BY i.oid

-- name: views
-- Views that read the tables $1: they would be left with the old ones.
SELECT DISTINCT r.ev_class::regclass::text
  FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND r.ev_class <> d.refobjid
   AND d.refobjid IN (SELECT c.oid FROM pg_class AS c
                       WHERE c.relnamespace = 'projection'::regnamespace AND c.relname = ANY($1::text[]))

-- name: older_snapshots
-- Transactions of this database, not ours, that look at a state from before now. Those that the backend
-- $1 keeps waiting look afresh when they go on.
SELECT l.pid, l.virtualxid, a.backend_xmin::text AS xmin
  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
 WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND a.usesysid IS NOT NULL
   AND a.backend_xmin IS NOT NULL AND a.pid NOT IN (pg_backend_pid(), $1)
   AND NOT $1 = ANY (pg_blocking_pids(a.pid))

-- name: still_looking
-- Whether the transaction $2 of the backend $1 still looks at what it looked at when $3 was its xmin.
SELECT EXISTS (
    SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
     WHERE l.locktype = 'virtualxid' AND l.pid = $1 AND l.virtualxid = $2 AND a.backend_xmin::text = $3)
