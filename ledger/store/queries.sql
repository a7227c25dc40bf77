-- What the event store asks of a tenant's database. The functions stand in migrations/tenant/sql.

-- name: append
SELECT outcomes, positions, versions, recorded_at
  FROM ledger.append_events_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: append_one
SELECT position_, version_, recorded_at_ FROM ledger.append_event_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: identity
SELECT tenant_id FROM ledger.identity

-- name: head
SELECT position FROM ledger.head

-- name: read
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1
 ORDER BY position
 LIMIT $2

-- name: read_positions
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position = ANY($1::bigint[])

-- name: read_by_id
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE event_id = $1

-- name: read_stream
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND position <= $3
 ORDER BY version
 LIMIT $4

-- name: read_by_stream
-- Whole streams one after the other: what a rebuild and a verification fold.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE (stream_id, version) > ($1, $2) AND position <= $3
 ORDER BY stream_id, version
 LIMIT $4

-- name: last_position_at
-- The last position recorded at or before a time; recorded_at never decreases with position.
SELECT max(position) FROM ledger.events WHERE stream_id = $1 AND recorded_at <= $2

-- name: stream_has_type
SELECT EXISTS (SELECT FROM ledger.events WHERE stream_id = $1 AND event_type = $2)
