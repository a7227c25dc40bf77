-- What projector, rebuild and verification ask of a tenant's database. Statements that name every
-- column of a table are put together from the row classes (table_sql.py).

-- name: checkpoint
SELECT position FROM projection.checkpoints WHERE name = $1

-- name: checkpoint_and_version
SELECT position, version, rebuilds FROM projection.checkpoints WHERE name = $1

-- name: checkpoint_and_stop
SELECT position, stopped_position, stopped_reason FROM projection.checkpoints WHERE name = $1

-- name: standings
-- One row per name, with the head and the age of the first event that is not projected.
SELECT n.name, c.position, c.version, c.stopped_position, c.stopped_reason, c.stopped_at, h.position AS head,
       extract(epoch FROM clock_timestamp() - e.recorded_at)::float8 AS lag_seconds
  FROM unnest($1::text[]) AS n (name)
 CROSS JOIN ledger.head AS h
  LEFT JOIN projection.checkpoints AS c ON c.name = n.name
  LEFT JOIN ledger.events AS e ON e.position = coalesce(c.position, 0) + 1

-- name: lock_checkpoint
-- Whoever holds this row may write the tables; all others wait.
SELECT position, version, rebuilds FROM projection.checkpoints WHERE name = $1 FOR UPDATE

-- name: advance
-- Compare and set: nothing is written where somebody else has moved the checkpoint ($2, $3, $4) or holds it.
-- What a crash takes from the tables is folded again, for the events are flushed already. The writes of the
-- tables' rows follow (live_tables.py).
WITH held AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
      FROM projection.checkpoints
     WHERE name = $1 AND position = $2 AND version IS NOT DISTINCT FROM $3 AND rebuilds = $4
       FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE projection.checkpoints
       SET position = $5, version = $6, updated_at = now(),
           stopped_position = NULL, stopped_reason = NULL, stopped_at = NULL
     WHERE name = $1 AND EXISTS (SELECT FROM held)
    RETURNING position
)
-- writes
SELECT count(*) FROM moved

-- name: set_checkpoint
-- A rebuild sets it whatever it was, and puts it back where it is missing. Projectors see by `rebuilds` that
-- what they remember of the rows is no longer true, even where the position is the same.
INSERT INTO projection.checkpoints (name, position, version, updated_at) VALUES ($1, $2, $3, now())
    ON CONFLICT (name) DO UPDATE
       SET position = excluded.position, version = excluded.version, updated_at = excluded.updated_at,
           rebuilds = checkpoints.rebuilds + 1,
           stopped_position = NULL, stopped_reason = NULL, stopped_at = NULL

-- name: note_stop
-- Only while nobody has come further.
UPDATE projection.checkpoints SET stopped_position = $3, stopped_reason = $4, stopped_at = now()
 WHERE name = $1 AND position = $2

-- name: head
SELECT position FROM ledger.head

-- name: streams_of_positions
SELECT DISTINCT stream_id FROM ledger.events WHERE position = ANY($1::bigint[])

-- name: erasures_between
-- The erasures recorded after the checkpoint $1, up to $2.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1 AND position <= $2 AND event_type = 'payload.erased'
 ORDER BY position

-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: stream_is_there
SELECT EXISTS (SELECT FROM ledger.events WHERE stream_id = $1)

-- name: blob_usage
-- One row per body: a body may be recorded at many paths.
SELECT count(*), coalesce(sum(size_bytes), 0)::bigint,
       coalesce(sum(size_bytes * recorded), 0)::bigint, coalesce(sum(recorded), 0)::bigint
  FROM (SELECT max(size_bytes) AS size_bytes, count(*) AS recorded FROM projection.artifacts GROUP BY digest) AS bodies

-- name: first_checkpoint
INSERT INTO projection.checkpoints (name, position, updated_at) VALUES ($1, 0, now())

-- name: lock_tables
-- One maker of a projection's tables at a time; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('daicho.projection:' || $1, 0))

-- name: table_columns
-- Types as SQLAlchemy writes them; the column's place in the primary key, 0 where it is not in it.
SELECT c.relname, a.attname,
       upper(format_type(a.atttypid, a.atttypmod)) || CASE l.collname WHEN 'C' THEN ' COLLATE "C"' ELSE '' END,
       a.attnotnull, coalesce(array_position(k.conkey, a.attnum), 0)
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
  LEFT JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
 WHERE n.nspname = 'projection' AND c.relname = ANY($1::text[]) AND a.attnum > 0 AND NOT a.attisdropped
