-- The read side as runs, steps and artifacts are asked for. The tables are emptied and folded from the
-- first event again, by the next projector or by `daicho rebuild`: no row of an older fold stays behind.

-- name: as_projector
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_projector'); END $block$

-- name: empty
TRUNCATE projection.runs, projection.steps, projection.attempts, projection.artifacts,
         projection.audit_logs, projection.anomalies, projection.prompts

-- name: checkpoints
-- `version` is that of the projection which filled the tables (Projection.version); NULL where none did yet.
-- `rebuilds` counts how often a rebuild replaced rows: whoever remembers some forgets them when it changes.
-- Where a projection stopped, `stopped_position` and `stopped_reason` say at which event and why.
ALTER TABLE projection.checkpoints
    ADD COLUMN version          bigint,
    ADD COLUMN rebuilds         bigint NOT NULL DEFAULT 0,
    ADD COLUMN stopped_position bigint,
    ADD COLUMN stopped_reason   text,
    ADD COLUMN stopped_at       timestamptz

-- name: from_the_first_event
UPDATE projection.checkpoints SET position = 0, updated_at = now() WHERE name = 'core'

-- name: runs
ALTER TABLE projection.runs
    ADD COLUMN active_ms              bigint NOT NULL,
    ADD COLUMN queue_ms               bigint,
    ADD COLUMN retry_wait_ms          bigint NOT NULL,
    ADD COLUMN retryable_failures     bigint NOT NULL,
    ADD COLUMN non_retryable_failures bigint NOT NULL,
    ADD COLUMN validation_failures    bigint NOT NULL,
    ADD COLUMN lost                   bigint NOT NULL,
    ADD COLUMN input_tokens           bigint,
    ADD COLUMN output_tokens          bigint,
    ADD COLUMN costs                  json,
    ADD COLUMN first_recorded_at      timestamptz

-- name: steps
ALTER TABLE projection.steps
    ADD COLUMN lost               bigint NOT NULL,
    ADD COLUMN active_ms          bigint NOT NULL,
    ADD COLUMN queue_ms           bigint,
    ADD COLUMN retry_wait_ms      bigint NOT NULL,
    ADD COLUMN validation_reports json,
    ADD COLUMN input_tokens       bigint,
    ADD COLUMN output_tokens      bigint,
    ADD COLUMN costs              json,
    ADD COLUMN run_first_position bigint NOT NULL

-- name: attempts
ALTER TABLE projection.attempts
    ADD COLUMN scheduled_at  timestamptz,
    ADD COLUMN queue_ms      bigint,
    ADD COLUMN retry_wait_ms bigint,
    ADD COLUMN lost_by       text,
    ADD COLUMN last_seen_at  timestamptz,
    ADD COLUMN input_tokens  bigint,
    ADD COLUMN output_tokens bigint,
    ADD COLUMN cost          text,
    ADD COLUMN currency      text

-- name: artifacts
ALTER TABLE projection.artifacts
    DROP COLUMN step_id,
    DROP COLUMN attempt,
    ADD COLUMN producer_step_id text COLLATE "C",
    ADD COLUMN producer_attempt bigint,
    ADD COLUMN consumers        json,
    ADD COLUMN repaired_into    text,
    ADD COLUMN repair_kind      text

-- name: drop_runs_by_start
-- Listings go by first_position: the order in which runs were recorded, which never changes.
DROP INDEX projection.runs_started_at_idx

-- name: runs_by_position
CREATE INDEX runs_first_position_idx ON projection.runs (first_position)

-- name: runs_by_time
-- Turns a range of times into a range of positions: recorded_at never decreases with the position.
CREATE INDEX runs_first_recorded_at_idx ON projection.runs (first_recorded_at, first_position)

-- name: runs_by_status
-- Filtered listings go by -first_position, for which the index above is no use: with it the planner would
-- walk from the newest run, and past all of them where only old ones fit.
CREATE INDEX runs_status_idx ON projection.runs (status, (-first_position))

-- name: runs_by_pack
CREATE INDEX runs_prompt_pack_idx ON projection.runs (prompt_pack_id, (-first_position))

-- name: runs_by_pack_version
CREATE INDEX runs_prompt_pack_version_idx
    ON projection.runs (prompt_pack_id, prompt_pack_version, (-first_position))

-- name: runs_by_retryable
CREATE INDEX runs_retryable_idx ON projection.runs ((-first_position))
 WHERE retryable_failures > 0 OR error_category = 'retryable'

-- name: runs_by_non_retryable
CREATE INDEX runs_non_retryable_idx ON projection.runs ((-first_position))
 WHERE non_retryable_failures > 0 OR error_category = 'non_retryable'

-- name: runs_by_validation_fail
CREATE INDEX runs_validation_fail_idx ON projection.runs ((-first_position))
 WHERE validation_failures > 0 OR error_category = 'validation_fail'

-- name: runs_by_text
-- Words of ids, pipelines, labels and errors, parted by whatever in ASCII is no letter and no digit: a class
-- such as [:alnum:] would depend on the database's locale.
CREATE INDEX runs_text_idx ON projection.runs USING gin (to_tsvector('simple', regexp_replace(
    run_id || ' ' || coalesce(pipeline, '') || ' ' || coalesce(error_message, '') || ' ' || coalesce(labels::text, ''),
    '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+', ' ', 'g')))

-- name: steps_by_name
CREATE INDEX steps_step_idx ON projection.steps (step_id, (-run_first_position))

-- name: steps_by_name_and_error
CREATE INDEX steps_error_idx ON projection.steps (step_id, error_category, (-run_first_position))
 WHERE error_category IS NOT NULL

-- name: attempts_running
-- What might be lost: attempts that run and said for how long they may.
CREATE INDEX attempts_running_idx ON projection.attempts (started_at)
 WHERE status = 'running' AND timeout_seconds IS NOT NULL

-- name: owner_again
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_owner'); END $block$
