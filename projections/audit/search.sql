-- Searching a tenant's events, the newest first. The `look_…` statements lead to the events that are looked at:
-- positions before $1 and after $2, at most $3 of them. `$1` is never beyond the flushed head. Comparing rows of
-- (type, position) leaves the planner one way: the index in that order (migration 0008); with an equality it
-- may walk the primary key backwards through everything, in the hope of meeting the type soon. What else is
-- wanted filters them, in `find`.

-- name: look_everywhere
SELECT position FROM ledger.events
 WHERE position < $1 AND position > $2 AND $4::text IS NULL
 ORDER BY position DESC LIMIT $3

-- name: look_at_run
SELECT position FROM ledger.events
 WHERE stream_id = $4::text AND position < $1 AND position > $2
 ORDER BY version DESC LIMIT $3

-- name: look_at_types
SELECT found.position
  FROM unnest($4::text[]) AS wanted (event_type)
 CROSS JOIN LATERAL (SELECT e.position FROM ledger.events AS e
                      WHERE (e.event_type, e.position) < (wanted.event_type, $1::bigint)
                        AND (e.event_type, e.position) > (wanted.event_type, $2::bigint)
                      ORDER BY e.event_type DESC, e.position DESC LIMIT $3) AS found
 ORDER BY found.position DESC LIMIT $3

-- name: look_at_step
SELECT position FROM ledger.events
 WHERE step_id IS NOT NULL
   AND (step_id, position) < ($4::text, $1::bigint) AND (step_id, position) > ($4::text, $2::bigint)
 ORDER BY step_id DESC, position DESC LIMIT $3

-- name: look_at_actor
SELECT position FROM ledger.events
 WHERE actor IS NOT NULL
   AND (actor, position) < ($4::text, $1::bigint) AND (actor, position) > ($4::text, $2::bigint)
 ORDER BY actor DESC, position DESC LIMIT $3

-- name: find
-- Of the events looked at, those that are wanted, at most $11. Categories stand only in events of the types
-- $10, and text is looked for only in those of the ledger's own types, $12: others' bytes may be no text.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ({look}) AS looked_at
 CROSS JOIN LATERAL (SELECT version, recorded_at, event_id, event_type, stream_id, step_id, attempt, occurred_at,
                            actor, traceparent, schema_version, payload
                       FROM ledger.events AS e
                      WHERE e.position = looked_at.position
                     OFFSET 0) AS event  -- no join: it would filter the whole log before it looks
 WHERE ($5::text IS NULL OR stream_id = $5)
   AND ($6::text[] IS NULL OR event_type = ANY($6))
   AND ($7::text IS NULL OR step_id = $7)
   AND ($8::text IS NULL OR actor = $8)
   AND ($9::text IS NULL OR CASE WHEN event_type = ANY($10::text[])
        THEN convert_from(payload, 'UTF8')::json #>> '{error,category}' = $9 END)
   AND ($13::text IS NULL OR CASE WHEN event_type = ANY($12::text[])
        THEN position($13 IN lower(convert_from(payload, 'UTF8') COLLATE "C")) > 0 END)
 ORDER BY position DESC
 LIMIT $11

-- name: looked
-- How many events were looked at, and the last of them.
SELECT count(*), min(position) FROM ({look}) AS looked_at

-- name: has_step
SELECT EXISTS (SELECT FROM ledger.events WHERE step_id = $1)

-- name: has_type
SELECT EXISTS (SELECT FROM ledger.events WHERE event_type = $1)

-- name: has_actor
SELECT EXISTS (SELECT FROM ledger.events WHERE actor = $1)

-- name: step_ids
-- Steps that events name, for "did you mean", at most 1,000: from one to the next by the index, past the events
-- of each.
WITH RECURSIVE named (step_id) AS (
    (SELECT step_id FROM ledger.events WHERE step_id IS NOT NULL ORDER BY step_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.step_id FROM ledger.events AS e WHERE e.step_id > named.step_id ORDER BY e.step_id LIMIT 1)
      FROM named WHERE named.step_id IS NOT NULL
)
SELECT step_id FROM named WHERE step_id IS NOT NULL LIMIT 1000

-- name: event_types
WITH RECURSIVE named (event_type) AS (
    (SELECT event_type FROM ledger.events ORDER BY event_type LIMIT 1)
    UNION ALL
    SELECT (SELECT e.event_type FROM ledger.events AS e
             WHERE e.event_type > named.event_type ORDER BY e.event_type LIMIT 1)
      FROM named WHERE named.event_type IS NOT NULL
)
SELECT event_type FROM named WHERE event_type IS NOT NULL LIMIT 1000

-- name: actors
WITH RECURSIVE named (actor) AS (
    (SELECT actor FROM ledger.events WHERE actor IS NOT NULL ORDER BY actor LIMIT 1)
    UNION ALL
    SELECT (SELECT e.actor FROM ledger.events AS e WHERE e.actor > named.actor ORDER BY e.actor LIMIT 1)
      FROM named WHERE named.actor IS NOT NULL
)
SELECT actor FROM named WHERE actor IS NOT NULL LIMIT 1000
