-- Appending behind an append that is not answered yet.

-- name: append_events_v3
-- As append_events_v2, and faster where versions are looked up in a young log. p_follows is for a call that is
-- sent before the one before it was answered: the salt of that one's last event, which nobody else has. DA007,
-- and nothing done, where that is not the last event there is.
CREATE FUNCTION ledger.append_events_v3(
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
    p_follows         bytea DEFAULT NULL,
    OUT position_     bigint,
    OUT recorded_at_  timestamptz,
    OUT versions_     bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, ledger, pg_temp SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    -- The client may have switched this off for its session; what is acknowledged is durable. (As an expression
    -- it takes a third of the time of a statement.)
    durable constant text := set_config('synchronous_commit', CASE WHEN p_flush THEN 'on' ELSE 'off' END, true);
    n       constant integer := cardinality(p_event_ids);
    base    bigint;
BEGIN
    UPDATE ledger.head AS h
       SET position = h.position + n,
           recorded_at = greatest(clock_timestamp(), h.recorded_at)
    RETURNING h.position - n, h.recorded_at INTO STRICT base, recorded_at_;

    IF p_follows IS NOT NULL THEN
        PERFORM FROM ledger.events AS e WHERE e.position = base AND e.salt = p_follows;
        IF NOT FOUND THEN
            RAISE EXCEPTION SQLSTATE 'DA007' USING MESSAGE = 'what this was to follow is not recorded';
        END IF;
    END IF;

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
        -- Bounded above too: the plan is made while the table is small, and for what has no end it scans it.
        SELECT array_agg(e.version ORDER BY e.position) INTO versions_
          FROM ledger.events AS e WHERE e.position BETWEEN base + 1 AND base + n;
    END IF;
END
$function$

-- name: append_contended_v3
-- append_events_v3 for many processes on one tenant: see append_contended_v1.
CREATE PROCEDURE ledger.append_contended_v3(
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
      FROM ledger.append_events_v3(
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
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.append_events_v3 TO %I', writer);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE ledger.append_contended_v3 TO %I', writer);
END
$block$
