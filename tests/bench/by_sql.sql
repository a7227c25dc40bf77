-- The same tables and columns as a rebuild makes, by hand-written SQL: what the database alone can do with
-- each payload decoded once. It knows the benchmark's history (no resets, no lost attempts, no anomalies) and
-- takes liberties that a fold cannot. {runs}, {steps} … are the tables to fill; $1 and $2 bound the streams.

-- name: decode
CREATE TEMP TABLE decoded ON COMMIT DROP AS
SELECT position, version, recorded_at, occurred_at, stream_id AS run_id, event_type, step_id, attempt, actor,
       traceparent, convert_from(payload, 'UTF8')::jsonb AS p
  FROM ledger.events
 WHERE stream_id > $1 AND stream_id <= $2

-- name: fill
WITH started AS (
    SELECT * FROM decoded WHERE event_type = 'step.started'
), ended AS (
    SELECT *, substr(event_type, 6) AS status FROM decoded WHERE event_type IN ('step.succeeded', 'step.failed')
), joined AS (
    SELECT s.run_id, s.step_id, s.attempt, coalesce(e.status, 'running') AS status, s.occurred_at AS started_at,
           e.occurred_at AS ended_at, round((e.p ->> 'duration_ms')::numeric)::bigint AS duration_ms,
           (extract(epoch FROM s.occurred_at - lag(e.occurred_at) OVER (
               PARTITION BY s.run_id, s.step_id ORDER BY s.attempt)) * 1000)::bigint AS retry_wait_ms,
           e.p -> 'error' AS error, (e.p ->> 'will_retry')::boolean AS will_retry,
           (e.p ->> 'retry_delay_ms')::float8 AS retry_delay_ms, (s.p ->> 'timeout_seconds')::float8 AS timeout_seconds,
           s.p -> 'inputs' AS inputs, e.p -> 'inputs_read' AS inputs_read, e.p -> 'outputs' AS outputs,
           e.p -> 'validation_reports' AS validation_reports, e.p -> 'usage' AS usage, s.p ->> 'model' AS model,
           s.p -> 'prompt' AS prompt, s.p -> 'engine' AS engine, s.p ->> 'worker' AS worker, s.actor, s.traceparent,
           s.position AS started_position, e.position AS ended_position
      FROM started AS s LEFT JOIN ended AS e USING (run_id, step_id, attempt)
), attempts AS (
    INSERT INTO {attempts} (run_id, step_id, ordinal, attempt, status, started_at, ended_at, duration_ms,
                            retry_wait_ms, error, error_category, error_message, retryable, will_retry,
                            retry_delay_ms, timeout_seconds, inputs, inputs_read, outputs, validation_reports,
                            usage, input_tokens, output_tokens, cost, currency, model, prompt, engine, worker,
                            actor, traceparent, started_position, ended_position)
    SELECT run_id, step_id, attempt, attempt, status, started_at, ended_at, duration_ms, retry_wait_ms, error,
           error ->> 'category', error ->> 'message', error ->> 'category' = 'retryable', will_retry,
           retry_delay_ms, timeout_seconds, inputs, inputs_read, outputs, validation_reports, usage,
           (usage ->> 'input_tokens')::bigint, (usage ->> 'output_tokens')::bigint, usage ->> 'cost',
           usage ->> 'currency', model, prompt, engine, worker, actor, traceparent, started_position, ended_position
      FROM joined
    RETURNING *
), run_starts AS (
    SELECT run_id, min(position) AS first_position, max(position) AS last_position, max(version) AS last_version,
           min(recorded_at) AS first_recorded_at, max(recorded_at) AS last_recorded_at,
           count(*) FILTER (WHERE event_type = 'step.retrying') AS retries,
           count(*) FILTER (WHERE event_type = 'repair.applied') AS repairs,
           (array_agg(step_id ORDER BY position DESC) FILTER (WHERE event_type = 'step.started'))[1] AS current_step
      FROM decoded GROUP BY run_id
), step_words AS (
    SELECT run_id, step_id, min(position) AS first_position, max(position) AS last_position,
           count(*) FILTER (WHERE event_type = 'step.retrying') AS retries,
           count(*) FILTER (WHERE event_type = 'repair.applied') AS repairs,
           max(position) FILTER (WHERE event_type = 'step.retrying') AS retrying_position
      FROM decoded
     WHERE event_type IN ('step.started', 'step.succeeded', 'step.failed', 'step.retrying', 'repair.applied')
     GROUP BY run_id, step_id
), of_steps AS (
    SELECT run_id, step_id, count(*) AS attempts, count(*) FILTER (WHERE status = 'failed') AS failures,
           count(*) FILTER (WHERE status = 'failed' AND error_category = 'retryable') AS retryable_failures,
           count(*) FILTER (WHERE status = 'failed' AND error_category = 'non_retryable') AS non_retryable_failures,
           count(*) FILTER (WHERE status = 'failed' AND error_category = 'validation_fail') AS validation_failures,
           max(attempt) AS last, max(attempt) FILTER (WHERE status = 'failed') AS last_failed,
           max(attempt) FILTER (WHERE status = 'succeeded') AS last_succeeded, min(started_at) AS started_at,
           sum(coalesce(duration_ms, 0))::bigint AS active_ms, sum(coalesce(retry_wait_ms, 0))::bigint AS retry_wait_ms,
           sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(cost::numeric) AS cost
      FROM attempts GROUP BY run_id, step_id
), steps AS (
    INSERT INTO {steps} (run_id, step_id, status, attempts, retries, failures, lost, repairs, started_at, ended_at,
                         duration_ms, active_ms, retry_wait_ms, error, error_category, error_message, retryable,
                         outputs, validation_reports, input_tokens, output_tokens, costs, run_first_position,
                         first_position, last_position)
    SELECT s.run_id, s.step_id,
           CASE WHEN l.status = 'failed' AND l.will_retry THEN 'waiting_for_retry' ELSE l.status END,
           s.attempts, w.retries, s.failures, 0, w.repairs, s.started_at, l.ended_at,
           (extract(epoch FROM l.ended_at - s.started_at) * 1000)::bigint, s.active_ms, s.retry_wait_ms,
           f.error, f.error_category, f.error_message, f.retryable, o.outputs, l.validation_reports, s.input_tokens,
           s.output_tokens, CASE WHEN s.cost IS NOT NULL THEN json_build_object('USD', s.cost::text) END,
           r.first_position, w.first_position, w.last_position
      FROM of_steps AS s
      JOIN step_words AS w USING (run_id, step_id)
      JOIN run_starts AS r USING (run_id)
      JOIN attempts AS l ON (l.run_id, l.step_id, l.attempt) = (s.run_id, s.step_id, s.last)
      LEFT JOIN attempts AS f ON (f.run_id, f.step_id, f.attempt) = (s.run_id, s.step_id, s.last_failed)
      LEFT JOIN attempts AS o ON (o.run_id, o.step_id, o.attempt) = (s.run_id, s.step_id, s.last_succeeded)
), of_runs AS (
    SELECT run_id, count(*) AS steps, sum(attempts)::bigint AS attempts, sum(failures)::bigint AS failures,
           sum(retryable_failures)::bigint AS retryable_failures,
           sum(non_retryable_failures)::bigint AS non_retryable_failures,
           sum(validation_failures)::bigint AS validation_failures, sum(active_ms)::bigint AS active_ms,
           sum(retry_wait_ms)::bigint AS retry_wait_ms, sum(input_tokens)::bigint AS input_tokens,
           sum(output_tokens)::bigint AS output_tokens, sum(cost) AS cost
      FROM of_steps GROUP BY run_id
), refs AS (
    SELECT run_id, position, ord, 'input' AS origin, step_id, attempt, r, NULL AS name
      FROM decoded, jsonb_array_elements(p -> 'inputs') WITH ORDINALITY AS i (r, ord)
     WHERE event_type IN ('run.started', 'step.started')
    UNION ALL
    SELECT run_id, position, ord, 'input', step_id, attempt, r, NULL
      FROM decoded, jsonb_array_elements(p -> 'inputs_read') WITH ORDINALITY AS i (r, ord)
     WHERE event_type IN ('step.succeeded', 'step.failed')
    UNION ALL
    SELECT run_id, position, 1, 'stored', step_id, attempt, p -> 'ref', p ->> 'name'
      FROM decoded WHERE event_type = 'artifact.stored'
    UNION ALL
    SELECT run_id, position, 1000 + ord, 'output', step_id, attempt, r, NULL
      FROM decoded, jsonb_each(p -> 'outputs') WITH ORDINALITY AS o (k, r, ord)
     WHERE event_type IN ('step.succeeded', 'run.succeeded')
    UNION ALL
    SELECT run_id, position, 2, 'repair', step_id, attempt, p -> 'after', NULL
      FROM decoded WHERE event_type = 'repair.applied'
), named AS (
    SELECT *, r ->> 'path' AS path, r ->> 'digest' AS digest FROM refs
), first_words AS (
    SELECT DISTINCT ON (run_id, path, digest) * FROM named ORDER BY run_id, path, digest, position, ord
), consumed AS (
    SELECT run_id, path, digest, json_agg(step_id ORDER BY first) AS consumers
      FROM (SELECT run_id, path, digest, step_id, min(position) AS first FROM named
             WHERE origin = 'input' AND step_id IS NOT NULL GROUP BY run_id, path, digest, step_id) AS c
     GROUP BY run_id, path, digest
), repairs AS (
    SELECT run_id, p -> 'before' ->> 'path' AS before_path, p -> 'before' ->> 'digest' AS before_digest,
           p -> 'after' ->> 'path' AS after_path, p -> 'after' ->> 'digest' AS after_digest, p ->> 'kind' AS kind
      FROM decoded WHERE event_type = 'repair.applied'
), artifacts AS (
    INSERT INTO {artifacts} (run_id, path, digest, version, origin, name, content_type, size_bytes, created_at,
                             producer_step_id, producer_attempt, consumers, repaired_from, repaired_into,
                             repair_kind, first_position)
    SELECT a.run_id, a.path, a.digest,
           row_number() OVER (PARTITION BY a.run_id, a.path ORDER BY a.position, a.ord), a.origin,
           coalesce(a.name, regexp_replace(a.path, '^.*/', '')), a.r ->> 'content_type',
           (a.r ->> 'size_bytes')::bigint, (a.r ->> 'created_at')::timestamptz,
           CASE WHEN a.origin <> 'input' THEN a.step_id END, CASE WHEN a.origin <> 'input' THEN a.attempt END,
           c.consumers, m.before_digest, i.after_digest, m.kind, a.position
      FROM first_words AS a
      LEFT JOIN consumed AS c USING (run_id, path, digest)
      LEFT JOIN repairs AS m ON (m.run_id, m.after_path, m.after_digest) = (a.run_id, a.path, a.digest)
      LEFT JOIN repairs AS i ON (i.run_id, i.before_path, i.before_digest) = (a.run_id, a.path, a.digest)
    RETURNING run_id
), artifact_counts AS (
    SELECT run_id, count(*) AS artifacts FROM artifacts GROUP BY run_id
), runs AS (
    INSERT INTO {runs} (run_id, status, pipeline, prompt_pack_id, prompt_pack_version, prompt_pack_digest,
                        started_at, ended_at, duration_ms, active_ms, retry_wait_ms, current_step, failing_step,
                        error, error_category, error_message, steps, attempts, retries, failures,
                        retryable_failures, non_retryable_failures, validation_failures, lost, repairs, artifacts,
                        anomalies, input_tokens, output_tokens, costs, inputs, outputs, summary, config, labels,
                        first_position, last_position, last_version, first_recorded_at, last_recorded_at)
    SELECT s.run_id, coalesce(substr(e.event_type, 5), 'running'), s.p ->> 'pipeline',
           s.p -> 'prompt_pack' ->> 'pack_id', s.p -> 'prompt_pack' ->> 'version', s.p -> 'prompt_pack' ->> 'digest',
           s.occurred_at, e.occurred_at, (extract(epoch FROM e.occurred_at - s.occurred_at) * 1000)::bigint,
           coalesce(o.active_ms, 0), coalesce(o.retry_wait_ms, 0), r.current_step, e.p -> 'error' ->> 'step_id',
           e.p -> 'error', e.p -> 'error' ->> 'category', e.p -> 'error' ->> 'message', coalesce(o.steps, 0),
           coalesce(o.attempts, 0), r.retries, coalesce(o.failures, 0), coalesce(o.retryable_failures, 0),
           coalesce(o.non_retryable_failures, 0), coalesce(o.validation_failures, 0), 0, r.repairs,
           coalesce(a.artifacts, 0), 0, o.input_tokens, o.output_tokens,
           CASE WHEN o.cost IS NOT NULL THEN json_build_object('USD', o.cost::text) END, s.p -> 'inputs',
           e.p -> 'outputs', e.p -> 'summary', s.p -> 'config', s.p -> 'labels', r.first_position, r.last_position,
           r.last_version, r.first_recorded_at, r.last_recorded_at
      FROM decoded AS s
      JOIN run_starts AS r USING (run_id)
      LEFT JOIN of_runs AS o USING (run_id)
      LEFT JOIN artifact_counts AS a USING (run_id)
      LEFT JOIN decoded AS e ON e.run_id = s.run_id AND e.event_type IN ('run.succeeded', 'run.failed')
     WHERE s.event_type = 'run.started'
)
INSERT INTO {audit_logs} (run_id, position, action, actor, subject, reason, step_id, details, occurred_at, recorded_at)
SELECT run_id, position, event_type, actor,
       CASE event_type WHEN 'run.started' THEN p -> 'prompt_pack' ->> 'pack_id' ELSE p -> 'after' ->> 'path' END,
       p ->> 'note', step_id,
       CASE event_type WHEN 'run.started'
            THEN jsonb_build_object('pipeline', p -> 'pipeline', 'prompt_pack', p -> 'prompt_pack')
            ELSE p - 'note' END,
       occurred_at, recorded_at
  FROM decoded WHERE event_type IN ('run.started', 'repair.applied')
