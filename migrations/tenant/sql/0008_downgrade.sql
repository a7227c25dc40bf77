-- Takes revision 0008 away again.

-- name: events
DROP INDEX IF EXISTS ledger.events_type_idx, ledger.events_step_idx, ledger.events_actor_idx, ledger.events_first_idx

-- name: as_projector
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_projector'); END $block$

-- name: projections
DROP INDEX IF EXISTS projection.attempts_ended_position_idx, projection.attempts_reports_idx,
    projection.audit_logs_repairs_idx

-- name: owner_again
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_owner'); END $block$
