-- What work over all streams asks of the log.

-- name: sample_streams
-- Streams of the events on some pages, in order: $1 percent of the pages, the same ones each time.
SELECT stream_id FROM ledger.events TABLESAMPLE SYSTEM ($1) REPEATABLE (1) ORDER BY stream_id

-- name: read_range
-- Whole streams one after the other; $2 is NULL in the last range.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id > $1 AND stream_id <= $2 AND position <= $3
 ORDER BY stream_id, version

-- name: read_last_range
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id > $1 AND position <= $2
 ORDER BY stream_id, version

-- name: read_streams
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = ANY($1::text[]) AND position <= $2
 ORDER BY stream_id, version
