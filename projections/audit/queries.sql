-- What audit asks of a tenant's database beside the event store's own statements.

-- name: read_for_graph_state
-- Of the events of the run $1 after the version $2, up to the position $3, those of the types $4, and of
-- each what a GraphState is folded from.
SELECT version, event_type, schema_version, step_id, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND position <= $3 AND event_type = ANY($4::text[])
   AND (SELECT ledger.flushed_v1())
 ORDER BY version
 LIMIT $5

-- name: read_for_timeline
-- Of the events of the run $1 after the version $2, up to the position $3, what a timeline tells: two fifths
-- of the bytes of an event beside its payload are of columns that it does not. Times as PostgreSQL counts them
-- (projections/audit/ticks.py): the driver takes twice as long to make datetimes of them, and to write them as
-- text costs the server two thirds of what it spends on the rest of a row.
SELECT position, version, event_type, timestamptz_send(occurred_at) || timestamptz_send(recorded_at) AS times,
       step_id, attempt, actor, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND position <= $3 AND (SELECT ledger.flushed_v1())
 ORDER BY version
 LIMIT $4

-- name: position_at
-- The last position recorded at or before $1, 0 where none was, found by halving: positions have no gaps,
-- and recorded_at never decreases with them.
WITH RECURSIVE halving (low, high) AS (
    SELECT 0::bigint, position FROM ledger.head WHERE (SELECT ledger.flushed_v1())
    UNION ALL
    SELECT CASE WHEN middle.recorded_at <= $1 THEN middle.position ELSE halving.low END,
           CASE WHEN middle.recorded_at <= $1 THEN halving.high ELSE middle.position - 1 END
      FROM halving
     CROSS JOIN LATERAL (SELECT e.position, e.recorded_at FROM ledger.events AS e
                          WHERE e.position = (halving.low + halving.high + 1) / 2) AS middle
     WHERE halving.low < halving.high
)
SELECT max(low) FROM halving

-- name: position_of_version
SELECT position FROM ledger.events WHERE stream_id = $1 AND version = $2

-- name: last_version
SELECT version FROM ledger.events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1

-- name: runs_beside
-- Runs whose ids stand next to $1 in order, on either side, and the newest: for "did you mean".
(SELECT run_id FROM projection.runs WHERE run_id >= $1 ORDER BY run_id LIMIT 50)
UNION
(SELECT run_id FROM projection.runs WHERE run_id < $1 ORDER BY run_id DESC LIMIT 50)
UNION
(SELECT run_id FROM projection.runs ORDER BY first_position DESC LIMIT 200)

-- name: digests_with_prefix
SELECT DISTINCT digest FROM projection.artifacts
 WHERE digest >= $1 AND digest < $2
 ORDER BY digest
 LIMIT 6

-- name: digests_beside
(SELECT digest FROM projection.artifacts WHERE digest >= $1 ORDER BY digest LIMIT 20)
UNION
(SELECT digest FROM projection.artifacts WHERE digest < $1 ORDER BY digest DESC LIMIT 20)

-- name: paths_beside
-- Paths recorded in the run $1, next to the path $2 in order.
(SELECT path FROM projection.artifacts WHERE run_id = $1 AND path >= $2 ORDER BY path LIMIT 50)
UNION
(SELECT path FROM projection.artifacts WHERE run_id = $1 AND path < $2 ORDER BY path DESC LIMIT 50)

-- name: runs_with_digests
-- Which runs but $2 name which of the digests $1, at most $3 rows; the runs recorded first come first.
SELECT run_id, digest FROM projection.artifacts
 WHERE digest = ANY($1::text[]) AND run_id <> ALL($2::text[])
 ORDER BY first_position
 LIMIT $3

-- name: runs_begun
-- Streams by their first event, the newest first: those that begin at or before $1, before $2.
SELECT stream_id, position AS cursor FROM ledger.events
 WHERE version = 1 AND position <= $1 AND position < $2 AND NOT starts_with(stream_id, '$')
 ORDER BY position DESC
 LIMIT $3

-- name: runs_open
-- Runs whose last word of a whole run, up to $1, is that it started; the last started first, before $2.
SELECT stream_id, position AS cursor
  FROM (SELECT DISTINCT ON (stream_id) stream_id, event_type, position
          FROM ledger.events
         WHERE event_type IN ('run.started', 'run.succeeded', 'run.failed', 'run.cancelled')
           AND position <= $1
         ORDER BY stream_id, position DESC) AS last_word
 WHERE event_type = 'run.started' AND position < $2
 ORDER BY position DESC
 LIMIT $3

-- name: artifacts_with_digest
SELECT DISTINCT ON (path, digest) path, digest, run_id FROM projection.artifacts
 WHERE digest = $1
 ORDER BY path, digest, first_position
 LIMIT $2

-- name: artifacts_at_path
-- Every version recorded at the path $2 by the run $1, which the path names.
SELECT path, digest, run_id FROM projection.artifacts
 WHERE run_id = $1 AND path = $2
 ORDER BY version
 LIMIT $3
