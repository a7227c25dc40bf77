-- The audit trail: rows are added and read, nothing else.

-- name: record_act
INSERT INTO control.control_audit (actor, action, subject, reason, details)
VALUES ($1, $2, $3, $4, $5::jsonb) RETURNING entry_id

-- name: acts_of
SELECT entry_id, recorded_at, actor, action, subject, reason, details, database_user
  FROM control.control_audit
 WHERE $1::text IS NULL OR subject = $1
 ORDER BY entry_id DESC LIMIT $2
