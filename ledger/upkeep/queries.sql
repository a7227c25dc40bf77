-- What upkeep asks of a tenant's events.

-- name: payloads
SELECT position, event_type, payload FROM ledger.events
 WHERE position > $1 AND position <= $2
 ORDER BY position
 LIMIT $3

-- name: runs_at
SELECT DISTINCT stream_id FROM ledger.events WHERE position = ANY($1::bigint[]) ORDER BY stream_id LIMIT $2
