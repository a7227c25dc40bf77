-- What the recorders ask of a tenant's database. The functions stand in migrations/tenant/sql.

-- name: append
SELECT ledger.append_stored_events_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: insert_snapshots
SELECT ledger.insert_snapshots_v1($1, $2, $3, $4)

-- name: insert_tracking
SELECT ledger.insert_tracking_v1($1, $2, $3)

-- name: own_positions
-- The positions of events that stand there with these very salts: those of this call, and no other's.
SELECT e.position
  FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY AS i (event_id, salt, ordinal)
  JOIN ledger.events AS e USING (event_id, salt)
 ORDER BY i.ordinal

-- name: select_events
SELECT version, event_type, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND version <= $3 AND (SELECT ledger.flushed_v1())
 ORDER BY version
 LIMIT $4

-- name: select_events_desc
SELECT version, event_type, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version > $2 AND version <= $3 AND (SELECT ledger.flushed_v1())
 ORDER BY version DESC
 LIMIT $4

-- name: select_snapshots
SELECT version, topic, state
  FROM ledger.snapshots
 WHERE stream_id = $1 AND version > $2 AND version <= $3
 ORDER BY version
 LIMIT $4

-- name: select_snapshots_desc
SELECT version, topic, state
  FROM ledger.snapshots
 WHERE stream_id = $1 AND version > $2 AND version <= $3
 ORDER BY version DESC
 LIMIT $4

-- name: head
SELECT position FROM ledger.head WHERE (SELECT ledger.flushed_v1())

-- name: select_notifications
SELECT position, stream_id, version, event_type, payload
  FROM ledger.events
 WHERE strpos(stream_id, '/') > 0 AND split_part(stream_id, '/', 1) = $1
   AND position > $2 AND position <= $3
   AND ($4::text[] IS NULL OR event_type = ANY($4::text[]))
   AND (SELECT ledger.flushed_v1())
 ORDER BY position
 LIMIT $5

-- name: max_notification_id
SELECT position
  FROM ledger.events
 WHERE strpos(stream_id, '/') > 0 AND split_part(stream_id, '/', 1) = $1 AND (SELECT ledger.flushed_v1())
 ORDER BY position DESC
 LIMIT 1

-- name: max_tracking_id
SELECT notification_id FROM ledger.tracking WHERE application = $1 AND upstream = $2
