-- name: near_runs
-- Runs whose id shares a beginning with $1, or holds it; for "did you mean".
SELECT run_id FROM projection.runs
 WHERE starts_with(run_id, left($1, 4)) OR strpos(run_id, $1) > 0
 ORDER BY last_position DESC
 LIMIT 3
