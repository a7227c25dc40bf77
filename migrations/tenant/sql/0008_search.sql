-- Indexes for searching events; nothing that the code needs to run.

-- name: by_type
CREATE INDEX IF NOT EXISTS events_type_idx ON ledger.events (event_type, position)

-- name: by_step
CREATE INDEX IF NOT EXISTS events_step_idx ON ledger.events (step_id, position) WHERE step_id IS NOT NULL

-- name: by_actor
CREATE INDEX IF NOT EXISTS events_actor_idx ON ledger.events (actor, position) WHERE actor IS NOT NULL

-- name: first_of_stream
-- Streams in the order in which they began.
CREATE INDEX IF NOT EXISTS events_first_idx ON ledger.events (position, stream_id) WHERE version = 1

-- name: as_projector
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_projector'); END $block$

-- name: attempts_by_end
CREATE INDEX IF NOT EXISTS attempts_ended_position_idx ON projection.attempts (ended_position)

-- name: reports_by_end
CREATE INDEX IF NOT EXISTS attempts_reports_idx ON projection.attempts (run_id, ended_position)
 WHERE validation_reports IS NOT NULL

-- name: repairs_by_position
CREATE INDEX IF NOT EXISTS audit_logs_repairs_idx ON projection.audit_logs (position) WHERE action = 'repair.applied'

-- name: owner_again
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_owner'); END $block$
