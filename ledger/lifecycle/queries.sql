-- What moving, exporting, importing and deleting a tenant asks: the control database first, then the tenant's.

-- name: set_place
UPDATE control.tenants SET server_name = $2, status = $3 WHERE tenant_id = $1

-- name: set_status
UPDATE control.tenants SET status = $2 WHERE tenant_id = $1

-- name: set_former_ids
UPDATE control.tenants SET former_ids = $2 WHERE tenant_id = $1

-- name: last_export
-- The position of the last archive that was made of this tenant; NULL where none was.
SELECT (details ->> 'position')::bigint FROM control.control_audit
 WHERE subject = 'tenant:' || $1 AND action = 'tenant.exported' ORDER BY entry_id DESC LIMIT 1

-- name: head
SELECT position FROM ledger.head WHERE (SELECT ledger.flushed_v1())

-- name: disarm_erasure_record
-- The trigger demands that an erasure and its record come in one transaction; a copy brings both as they are,
-- the payload already gone. It is armed again in the same transaction, and nobody else is in this database.
ALTER TABLE ledger.events DISABLE TRIGGER erasure_recorded

-- name: arm_erasure_record
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER erasure_recorded

-- name: disarm_immutable
ALTER TABLE ledger.events DISABLE TRIGGER immutable

-- name: arm_immutable
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable

-- name: move_head
UPDATE ledger.head SET position = $1, recorded_at = $2

-- name: erase_what_is_recorded
-- What was erased at the source after it was copied: the records among the positions after $1 and up to $2
-- name it.
UPDATE ledger.events AS e SET payload = NULL, salt = NULL
  FROM ledger.events AS record
 WHERE record.position > $1 AND record.position <= $2 AND record.event_type = 'payload.erased'
   AND e.position = (convert_from(record.payload, 'UTF8')::json ->> 'position')::bigint
   AND e.payload IS NOT NULL

-- name: erased_positions
SELECT (convert_from(payload, 'UTF8')::json ->> 'position')::bigint
  FROM ledger.events WHERE position > $1 AND position <= $2 AND event_type = 'payload.erased'

-- name: range_digest
-- Every column of every event after position $1 and up to $2, in order.
SELECT count(*) AS events,
       sha256(coalesce(string_agg(sha256(convert_to(e::text, 'UTF8')), ''::bytea ORDER BY e.position), ''::bytea)) AS digest
  FROM ledger.events AS e WHERE e.position > $1 AND e.position <= $2

-- name: log_faults
-- A log that is whole has none: positions without a gap up to the head, a commitment that its payload meets,
-- and a record for everything that was erased.
SELECT count(*) <> max(head.position) OR coalesce(max(e.position), 0) <> max(head.position) AS has_gaps,
       count(*) FILTER (WHERE e.payload IS NOT NULL
                          AND e.payload_commitment <> ledger.payload_commitment_v1(e.salt, e.payload)) AS uncommitted,
       count(*) FILTER (WHERE e.position IS NOT NULL AND e.payload IS NULL
                          AND NOT EXISTS (SELECT FROM ledger.events AS r
                                           WHERE r.event_id = ledger.erasure_id_v1(e.event_id)
                                             AND r.event_type = 'payload.erased')) AS unrecorded
  FROM ledger.head AS head LEFT JOIN ledger.events AS e ON true

-- name: other_tables
-- What else of a tenant is not folded from its events, whatever a migration put there.
SELECT tablename FROM pg_tables
 WHERE schemaname = 'ledger' AND tablename <> ALL ('{events,head,identity,alembic_version}') ORDER BY tablename
