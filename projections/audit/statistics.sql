-- Statistics of attempts and repairs from the tables: those whose end was recorded after position $1, up to $2.

-- name: steps
SELECT step_id,
       count(*) AS attempts,
       count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'lost') AS lost,
       count(*) FILTER (WHERE status = 'failed' AND error_category = 'retryable') AS retryable,
       count(*) FILTER (WHERE status = 'failed' AND error_category = 'non_retryable') AS non_retryable,
       count(*) FILTER (WHERE status = 'failed' AND error_category = 'validation_fail') AS validation_fail,
       count(*) FILTER (WHERE ordinal > 1) AS retries,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50_ms,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95_ms,
       max(duration_ms) AS max_ms,
       coalesce(sum(duration_ms), 0)::bigint AS total_ms
  FROM projection.attempts
 WHERE ended_position > $1 AND ended_position <= $2
 GROUP BY step_id
 ORDER BY step_id

-- name: slowest
SELECT run_id, step_id, ordinal, status, duration_ms, ended_position
  FROM projection.attempts
 WHERE ended_position > $1 AND ended_position <= $2 AND duration_ms IS NOT NULL
 ORDER BY duration_ms DESC, ended_position
 LIMIT $3

-- name: repairs
SELECT run_id, position, details FROM projection.audit_logs
 WHERE action = 'repair.applied' AND position > $1 AND position <= $2
 ORDER BY position
 LIMIT $3

-- name: reports
SELECT run_id, ended_position, validation_reports FROM projection.attempts
 WHERE run_id = ANY($1::text[]) AND validation_reports IS NOT NULL
 ORDER BY run_id, ended_position
