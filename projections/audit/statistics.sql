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
-- What the repair's validator (any, where none is named) said the next time it spoke in the run: its last word
-- in the first attempt that ended after the repair with a report of it.
SELECT repair.kind, repair.validator,
       count(*) AS applied,
       count(*) FILTER (WHERE said.passed) AS helped,
       count(*) FILTER (WHERE NOT said.passed) AS not_helped,
       count(*) FILTER (WHERE said.passed IS NULL) AS untested
  FROM (SELECT run_id, position, details ->> 'kind' AS kind, details ->> 'validator' AS validator
          FROM projection.audit_logs
         WHERE action = 'repair.applied' AND position > $1 AND position <= $2) AS repair
  LEFT JOIN LATERAL (
       SELECT (report.value ->> 'passed')::boolean AS passed
         FROM projection.attempts AS a
        CROSS JOIN LATERAL json_array_elements(a.validation_reports) WITH ORDINALITY AS report (value, ordinal)
        WHERE a.run_id = repair.run_id AND a.ended_position > repair.position AND a.validation_reports IS NOT NULL
          AND (repair.validator IS NULL OR report.value ->> 'validator' = repair.validator)
        ORDER BY a.ended_position, report.ordinal DESC
        LIMIT 1) AS said ON true
 WHERE repair.kind IS NOT NULL  -- it was erased
 GROUP BY repair.kind, repair.validator
