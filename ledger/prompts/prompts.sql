-- What the loader asks of a tenant's log. The prompts are read from the decisions themselves: the
-- table projection.prompts may be behind, and what is retired must not start a run meanwhile.

-- name: newest
-- The last decision about a pack. `version` counts a pack's decisions, so a version is found by it.
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND (SELECT ledger.flushed_v1())
 ORDER BY version DESC
 LIMIT 1

-- name: of_version
SELECT position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE stream_id = $1 AND version = $2 AND (SELECT ledger.flushed_v1())

-- name: all_newest
-- The last decision about each pack, in order of stream.
SELECT DISTINCT ON (stream_id)
       position, version, recorded_at, event_id, event_type, stream_id, step_id, attempt,
       occurred_at, actor, traceparent, schema_version, payload
  FROM ledger.events
 WHERE strpos(stream_id, '/') > 0 AND split_part(stream_id, '/', 1) = '$prompt_packs'
   AND (SELECT ledger.flushed_v1())
 ORDER BY stream_id, version DESC
