-- What the event store asks of a tenant's database. The functions stand in migrations/tenant/sql.

-- name: append
SELECT outcomes, positions, versions, recorded_at
  FROM ledger.append_events_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: append_new
SELECT position_, recorded_at_, versions_
  FROM ledger.append_events_v3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, true, $13)

-- name: append_contended
CALL ledger.append_contended_v3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL, NULL, NULL)

-- name: append_new_before_0009
SELECT position_, recorded_at_, versions_
  FROM ledger.append_events_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: append_contended_before_0009
CALL ledger.append_contended_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL, NULL, NULL)

-- name: is_at_0009
SELECT to_regproc('ledger.append_events_v3') IS NOT NULL

-- name: append_one
SELECT position_, version_, recorded_at_
  FROM ledger.append_event_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: identity
SELECT tenant_id FROM ledger.identity

-- name: head
-- The visible head: what may be read. A contended append commits before it is flushed, so whatever
-- reads events beyond a position known to be flushed asks for the flush.
SELECT position FROM ledger.head WHERE (SELECT ledger.flushed_v1())

-- name: read
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1 AND (SELECT ledger.flushed_v1())
 ORDER BY position
 LIMIT $2

-- name: read_range
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1 AND position <= $2
 ORDER BY position

-- name: read_wanted
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1 AND position <= $2 AND event_type = ANY($3::text[])
 ORDER BY position
 LIMIT $4

-- name: read_wanted_of_stream
-- In order of version, which within a stream is that of position, because an index leads there.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND position > $3 AND position <= $4
   AND ($5::text[] IS NULL OR event_type = ANY($5))
 ORDER BY version
 LIMIT $6

-- name: read_last
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position > $1 AND position <= $2 AND ($3::text[] IS NULL OR event_type = ANY($3))
 ORDER BY position DESC
 LIMIT $4

-- name: read_last_of_stream
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND position > $2 AND position <= $3
   AND ($4::text[] IS NULL OR event_type = ANY($4))
 ORDER BY version DESC
 LIMIT $5

-- name: read_positions
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE position = ANY($1::bigint[])

-- name: read_by_id
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE event_id = $1 AND (SELECT ledger.flushed_v1())

-- name: read_by_ids
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE event_id = ANY($1::uuid[])

-- name: erase_payload
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.erase_payload_v1($1, $2, $3)

-- name: read_stream
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND position <= $3 AND (SELECT ledger.flushed_v1())
 ORDER BY version
 LIMIT $4

-- name: stream_has_type
SELECT EXISTS (SELECT FROM ledger.events WHERE stream_id = $1 AND event_type = $2)

-- name: blob_fence
SELECT fence_id, is_deleted FROM ledger.blob_fences WHERE digest = $1

-- name: lift_fence
SELECT ledger.lift_fence_v1($1, $2)

-- name: try_collection_lock
-- One collector of garbage per tenant; held by the session.
SELECT pg_try_advisory_lock(hashtextextended('daicho.collect', 0))

-- name: condemn_blobs
SELECT ledger.condemn_blobs_v1($1, $2, $3)

-- name: blobs_deleted
SELECT ledger.blobs_deleted_v1($1)

-- name: take_over_fences
SELECT coalesce(array_agg(digest), '{}') FROM ledger.take_over_fences_v1($1, $2) AS digest
