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
