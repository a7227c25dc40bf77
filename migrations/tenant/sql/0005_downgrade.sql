-- Takes revision 0005 away again. The tables are emptied: the older fold fills them from the first event.

-- name: as_projector
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_projector'); END $block$

-- name: empty
TRUNCATE projection.runs, projection.steps, projection.attempts, projection.artifacts,
         projection.audit_logs, projection.anomalies, projection.prompts

-- name: from_the_first_event
UPDATE projection.checkpoints SET position = 0, updated_at = now() WHERE name = 'core'

-- name: checkpoints
ALTER TABLE projection.checkpoints
    DROP COLUMN version,
    DROP COLUMN rebuilds,
    DROP COLUMN stopped_position,
    DROP COLUMN stopped_reason,
    DROP COLUMN stopped_at

-- name: drop_indexes
DROP INDEX projection.runs_first_position_idx, projection.runs_first_recorded_at_idx, projection.runs_status_idx,
           projection.runs_prompt_pack_idx, projection.runs_prompt_pack_version_idx, projection.runs_retryable_idx,
           projection.runs_non_retryable_idx, projection.runs_validation_fail_idx, projection.runs_text_idx,
           projection.steps_step_idx, projection.steps_error_idx, projection.attempts_running_idx

-- name: runs
ALTER TABLE projection.runs
    DROP COLUMN active_ms,
    DROP COLUMN queue_ms,
    DROP COLUMN retry_wait_ms,
    DROP COLUMN retryable_failures,
    DROP COLUMN non_retryable_failures,
    DROP COLUMN validation_failures,
    DROP COLUMN lost,
    DROP COLUMN input_tokens,
    DROP COLUMN output_tokens,
    DROP COLUMN costs,
    DROP COLUMN first_recorded_at

-- name: steps
ALTER TABLE projection.steps
    DROP COLUMN lost,
    DROP COLUMN active_ms,
    DROP COLUMN queue_ms,
    DROP COLUMN retry_wait_ms,
    DROP COLUMN validation_reports,
    DROP COLUMN input_tokens,
    DROP COLUMN output_tokens,
    DROP COLUMN costs,
    DROP COLUMN run_first_position

-- name: attempts
ALTER TABLE projection.attempts
    DROP COLUMN scheduled_at,
    DROP COLUMN queue_ms,
    DROP COLUMN retry_wait_ms,
    DROP COLUMN lost_by,
    DROP COLUMN last_seen_at,
    DROP COLUMN input_tokens,
    DROP COLUMN output_tokens,
    DROP COLUMN cost,
    DROP COLUMN currency

-- name: artifacts
ALTER TABLE projection.artifacts
    DROP COLUMN producer_step_id,
    DROP COLUMN producer_attempt,
    DROP COLUMN consumers,
    DROP COLUMN repaired_into,
    DROP COLUMN repair_kind,
    ADD COLUMN step_id text COLLATE "C",
    ADD COLUMN attempt bigint

-- name: runs_by_start
CREATE INDEX runs_started_at_idx ON projection.runs (started_at DESC, run_id)

-- name: owner_again
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_owner'); END $block$
