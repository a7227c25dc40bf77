-- What status and doctor ask.

-- name: operations
SELECT tenant_id, kind, step, started_by, updated_at FROM control.tenant_operations

-- name: database_bytes
SELECT pg_database_size(current_database())

-- name: stuck_runs
-- Runs that are open and recorded nothing for $1 seconds, the longest silent first.
SELECT run_id, current_step, extract(epoch FROM clock_timestamp() - last_recorded_at)::double precision
  FROM projection.runs
 WHERE status = 'running' AND last_recorded_at < clock_timestamp() - make_interval(secs => $1)
 ORDER BY last_recorded_at LIMIT $2
