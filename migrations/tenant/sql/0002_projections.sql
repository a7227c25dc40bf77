-- The projection schema of one tenant: tables folded from events, dropped and rebuilt at will, owned
-- by the projector role. Their columns are those of projections/rows.py (a test compares them).

-- name: schema
DO $block$
BEGIN
    EXECUTE format('CREATE SCHEMA projection AUTHORIZATION %I', current_database() || '_projector');
    EXECUTE format('SET LOCAL ROLE %I', current_database() || '_projector');
END
$block$

-- name: checkpoints
CREATE TABLE projection.checkpoints (
    name       text COLLATE "C" NOT NULL,
    position   bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (name)
)

-- name: runs
CREATE TABLE projection.runs (
    run_id              text COLLATE "C" NOT NULL,
    status              text NOT NULL,
    pipeline            text,
    prompt_pack_id      text,
    prompt_pack_version text,
    prompt_pack_digest  text,
    parent_run_id       text,
    started_at          timestamptz,
    ended_at            timestamptz,
    duration_ms         bigint,
    current_step        text,
    failing_step        text,
    error               json,
    error_category      text,
    error_message       text,
    steps               bigint NOT NULL,
    attempts            bigint NOT NULL,
    retries             bigint NOT NULL,
    failures            bigint NOT NULL,
    repairs             bigint NOT NULL,
    artifacts           bigint NOT NULL,
    anomalies           bigint NOT NULL,
    inputs              json,
    outputs             json,
    summary             json,
    config              json,
    labels              json,
    first_position      bigint NOT NULL,
    last_position       bigint NOT NULL,
    last_version        bigint NOT NULL,
    last_recorded_at    timestamptz,
    PRIMARY KEY (run_id)
)

-- name: steps
CREATE TABLE projection.steps (
    run_id         text COLLATE "C" NOT NULL,
    step_id        text COLLATE "C" NOT NULL,
    status         text NOT NULL,
    attempts       bigint NOT NULL,
    retries        bigint NOT NULL,
    failures       bigint NOT NULL,
    repairs        bigint NOT NULL,
    started_at     timestamptz,
    ended_at       timestamptz,
    duration_ms    bigint,
    error          json,
    error_category text,
    error_message  text,
    retryable      boolean,
    outputs        json,
    first_position bigint NOT NULL,
    last_position  bigint NOT NULL,
    PRIMARY KEY (run_id, step_id)
)

-- name: attempts
CREATE TABLE projection.attempts (
    run_id             text COLLATE "C" NOT NULL,
    step_id            text COLLATE "C" NOT NULL,
    ordinal            bigint NOT NULL,
    attempt            bigint NOT NULL,
    status             text NOT NULL,
    started_at         timestamptz,
    ended_at           timestamptz,
    duration_ms        bigint,
    error              json,
    error_category     text,
    error_message      text,
    retryable          boolean,
    will_retry         boolean,
    retry_delay_ms     double precision,
    timeout_seconds    double precision,
    inputs             json,
    inputs_read        json,
    outputs            json,
    validation_reports json,
    usage              json,
    model              text,
    prompt             json,
    engine             json,
    worker             text,
    actor              text,
    traceparent        text,
    started_position   bigint,
    ended_position     bigint,
    PRIMARY KEY (run_id, step_id, ordinal)
)

-- name: artifacts
CREATE TABLE projection.artifacts (
    run_id         text COLLATE "C" NOT NULL,
    path           text COLLATE "C" NOT NULL,
    digest         text COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    origin         text NOT NULL,
    step_id        text COLLATE "C",
    attempt        bigint,
    name           text NOT NULL,
    content_type   text,
    size_bytes     bigint,
    created_at     timestamptz,
    repaired_from  text,
    first_position bigint NOT NULL,
    PRIMARY KEY (run_id, path, digest)
)

-- name: audit_logs
CREATE TABLE projection.audit_logs (
    run_id      text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    action      text NOT NULL,
    actor       text,
    subject     text,
    reason      text,
    step_id     text COLLATE "C",
    details     json,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, position)
)

-- name: anomalies
CREATE TABLE projection.anomalies (
    run_id      text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    code        text COLLATE "C" NOT NULL,
    message     text NOT NULL,
    step_id     text COLLATE "C",
    attempt     bigint,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, position, code)
)

-- name: prompts
CREATE TABLE projection.prompts (
    run_id         text COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    name           text COLLATE "C" NOT NULL,
    pack_id        text COLLATE "C" NOT NULL,
    template       text NOT NULL,
    digest         text COLLATE "C",
    created_at     timestamptz NOT NULL,
    created_by     text,
    retired_at     timestamptz,
    first_position bigint NOT NULL,
    PRIMARY KEY (run_id, version, name)
)

-- name: runs_by_start
CREATE INDEX runs_started_at_idx ON projection.runs (started_at DESC, run_id)

-- name: artifacts_by_digest
CREATE INDEX artifacts_digest_idx ON projection.artifacts (digest)

-- name: prompts_by_pack
CREATE INDEX prompts_pack_idx ON projection.prompts (pack_id, version)

-- name: checkpoint_row
INSERT INTO projection.checkpoints (name, position, updated_at) VALUES ('core', 0, now())

-- name: grants
DO $block$
DECLARE
    reader constant text := current_database() || '_reader';
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA projection TO %I', reader);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA projection TO %I', reader);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA projection GRANT SELECT ON TABLES TO %I', reader);
END
$block$

-- name: owner_again
-- Alembic writes its version as the owner; RESET ROLE would go back to the session's own role too.
DO $block$ BEGIN EXECUTE format('SET LOCAL ROLE %I', current_database() || '_owner'); END $block$
