-- Parts of the statement that lists runs (run_listing.py puts together what was asked for).

-- name: run_text
-- The words of a run, as the index runs_text_idx has them.
to_tsvector('simple', regexp_replace(
    r.run_id || ' ' || coalesce(r.pipeline, '') || ' ' || coalesce(r.error_message, '') || ' '
             || coalesce(r.labels::text, ''),
    '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+', ' ', 'g'))

-- name: joined_steps
JOIN projection.steps AS s ON s.run_id = r.run_id

-- name: first_since
-- recorded_at never decreases with the position, so a range of times is a range of positions.
SELECT t.first_position FROM projection.runs AS t WHERE t.first_recorded_at >= {}
 ORDER BY t.first_recorded_at, t.first_position LIMIT 1

-- name: last_before
SELECT t.first_position FROM projection.runs AS t WHERE t.first_recorded_at < {}
 ORDER BY t.first_recorded_at DESC, t.first_position DESC LIMIT 1
