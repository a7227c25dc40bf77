-- What work over all streams asks of the log.

-- name: sample_streams
-- Streams of the events on some pages, in order: $1 percent of the pages, the same ones each time.
SELECT stream_id FROM ledger.events TABLESAMPLE SYSTEM ($1) REPEATABLE (1) ORDER BY stream_id

-- name: read
-- Whole streams one after the other; which ones, and up to where, takes the place of `true`.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE true
 ORDER BY stream_id, version

-- name: begun
-- Streams whose first event lies between two positions. Versions may begin anywhere, and streams whose events
-- lie here may have begun before.
SELECT here.stream_id
  FROM (SELECT stream_id, min(position) AS position FROM ledger.events
         WHERE position > $1 AND position <= $2 GROUP BY stream_id) AS here
 WHERE here.position = (SELECT e.position FROM ledger.events AS e
                         WHERE e.stream_id = here.stream_id ORDER BY e.version LIMIT 1)
