-- Attempts that run longer than they may. The index attempts_running_idx holds those that run and have a
-- timeout. A timeout beyond a century is none: adding it to a time would leave the calendar. Steps of reserved
-- names have no execution context that could time out.

-- name: overdue
SELECT a.run_id, a.step_id, a.ordinal, a.attempt, a.started_at, a.timeout_seconds, a.worker, r.last_version
  FROM projection.attempts AS a JOIN projection.runs AS r ON r.run_id = a.run_id
 WHERE a.status = 'running' AND a.timeout_seconds IS NOT NULL AND a.step_id NOT LIKE '$%'
   AND a.started_at < $2::timestamptz - make_interval(secs => least(a.timeout_seconds, 3e9) + $1::float8)
 ORDER BY a.started_at + make_interval(secs => least(a.timeout_seconds, 3e9)), a.run_id, a.step_id
 LIMIT $3

-- name: next_overdue
SELECT extract(epoch FROM min(a.started_at + make_interval(secs => least(a.timeout_seconds, 3e9) + $1::float8)) - now())::float8
  FROM projection.attempts AS a
 WHERE a.status = 'running' AND a.timeout_seconds IS NOT NULL AND a.step_id NOT LIKE '$%'
