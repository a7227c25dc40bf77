-- Appending what is new: events that are not there already, which nearly all are, without what the rest
-- needs: no savepoint, no look for repeats, no versions sent back that the caller told itself. And the
-- head's guard is asked about an update by its WHEN, without a call of its function.

-- name: append_events_v2
-- Appends events in order, all or none; position_ is the first's. unique_violation where an id or a
-- version is there already: append_events_v1 then tells what is so.
-- p_versions holds the version each event gets; where the caller does not know its stream's last, -1, -2 …
-- for the stream's first, second … event of this call. Where one is not known, versions_ tells them all.
-- p_salts holds the salts one after the other. With p_flush false the commit does not wait for its flush:
-- only append_contended_v2 may do so.
CREATE FUNCTION ledger.append_events_v2(
    p_event_ids       uuid[],
    p_stream_ids      text[],
    p_versions        bigint[],
    p_event_types     text[],
    p_step_ids        text[],
    p_attempts        integer[],
    p_actors          text[],
    p_traceparents    text[],
    p_schema_versions smallint[],
    p_occurred_at     timestamptz[],
    p_payloads        bytea[],
    p_salts           bytea,
    p_flush           boolean DEFAULT true,
    OUT position_     bigint,
    OUT recorded_at_  timestamptz,
    OUT versions_     bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, ledger, pg_temp SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    n     constant integer := cardinality(p_event_ids);
    base  bigint;
BEGIN
    -- The client may have switched this off for its session; what is acknowledged is durable.
    PERFORM set_config('synchronous_commit', CASE WHEN p_flush THEN 'on' ELSE 'off' END, true);

    UPDATE ledger.head AS h
       SET position = h.position + n,
           recorded_at = greatest(clock_timestamp(), h.recorded_at)
    RETURNING h.position - n, h.recorded_at INTO STRICT base, recorded_at_;

    INSERT INTO ledger.events
    SELECT base + i.ordinal,
           CASE WHEN i.version > 0 THEN i.version
                ELSE coalesce((SELECT e.version FROM ledger.events AS e
                                WHERE e.stream_id = i.stream_id
                                ORDER BY e.version DESC LIMIT 1), 0) - i.version
           END,
           recorded_at_, i.occurred_at, i.event_id, i.attempt, i.schema_version, i.stream_id,
           i.event_type, i.step_id, i.actor, i.traceparent, i.payload, s.salt,
           ledger.payload_commitment_v1(s.salt, i.payload)
      FROM unnest(p_event_ids, p_stream_ids, p_versions, p_event_types, p_step_ids, p_attempts, p_actors,
                  p_traceparents, p_schema_versions, p_occurred_at, p_payloads)
               WITH ORDINALITY AS i (event_id, stream_id, version, event_type, step_id, attempt, actor,
                                     traceparent, schema_version, occurred_at, payload, ordinal),
           LATERAL substr(p_salts, i.ordinal::integer * 16 - 15, 16) AS s (salt);

    position_ := base + 1;
    IF 0 > ANY (p_versions) THEN
        SELECT array_agg(e.version ORDER BY e.position) INTO versions_
          FROM ledger.events AS e WHERE e.position > base;
    END IF;
END
$function$

-- name: append_contended_v2
-- append_events_v2 for many processes on one tenant: see append_contended_v1.
CREATE PROCEDURE ledger.append_contended_v2(
    p_event_ids        uuid[],
    p_stream_ids       text[],
    p_versions         bigint[],
    p_event_types      text[],
    p_step_ids         text[],
    p_attempts         integer[],
    p_actors           text[],
    p_traceparents     text[],
    p_schema_versions  smallint[],
    p_occurred_at      timestamptz[],
    p_payloads         bytea[],
    p_salts            bytea,
    INOUT position_    bigint DEFAULT NULL,
    INOUT recorded_at_ timestamptz DEFAULT NULL,
    INOUT versions_    bigint[] DEFAULT NULL
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    SELECT a.position_, a.recorded_at_, a.versions_ INTO position_, recorded_at_, versions_
      FROM ledger.append_events_v2(
               p_event_ids, p_stream_ids, p_versions, p_event_types, p_step_ids, p_attempts, p_actors,
               p_traceparents, p_schema_versions, p_occurred_at, p_payloads, p_salts, p_flush => false) AS a;
    COMMIT;
    PERFORM pg_catalog.pg_logical_emit_message(false, 'daicho', '', true);
END
$procedure$

-- name: append_grants
DO $block$
DECLARE
    writer constant text := current_database() || '_writer';
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.append_events_v2 TO %I', writer);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE ledger.append_contended_v2 TO %I', writer);
END
$block$

-- name: head_advances_dropped
DROP TRIGGER only_advances ON ledger.head

-- name: head_advances
CREATE TRIGGER only_advances BEFORE UPDATE ON ledger.head
    FOR EACH ROW WHEN (NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at)
    EXECUTE FUNCTION ledger.head_only_advances_v1()

-- name: head_advances_always
ALTER TABLE ledger.head ENABLE ALWAYS TRIGGER only_advances
