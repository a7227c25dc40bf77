-- What applications of the `eventsourcing` library need of a tenant's database: their events go into
-- ledger.events, under positions of the same head; snapshots and tracking have tables of their own.
--
-- The stream of an application's event is named application/originator. A run's id holds no slash,
-- so an application's stream and a run's can never be the same.

-- name: application_events_index
-- An application's notification log: its own events in order of position.
CREATE INDEX events_application_idx
    ON ledger.events (split_part(stream_id, '/', 1), position)
 WHERE strpos(stream_id, '/') > 0

-- name: snapshots
-- States of aggregates, taken to spare reading their events. Derived: they can be taken again.
CREATE TABLE ledger.snapshots (
    stream_id   text COLLATE "C" NOT NULL CHECK (strpos(stream_id, '/') > 1),
    version     bigint NOT NULL CHECK (version >= 0),
    topic       text COLLATE "C" NOT NULL CHECK (topic <> ''),
    state       bytea NOT NULL CHECK (octet_length(state) <= 16777216),
    recorded_at timestamptz NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream_id, version)
)

-- name: tracking
-- How far an application has processed the notifications of another (or of its own).
CREATE TABLE ledger.tracking (
    application     text COLLATE "C" NOT NULL CHECK (application <> ''),
    upstream        text COLLATE "C" NOT NULL CHECK (upstream <> ''),
    notification_id bigint NOT NULL,
    recorded_at     timestamptz NOT NULL,
    CONSTRAINT tracking_pkey PRIMARY KEY (application, upstream)
)

-- name: insert_tracking_v1
-- Moves an application's tracking forward; unique_violation where it is that far already.
CREATE FUNCTION ledger.insert_tracking_v1(p_application text, p_upstream text, p_notification_id bigint)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO ledger.tracking AS t
    VALUES (p_application, p_upstream, p_notification_id, clock_timestamp())
    ON CONFLICT ON CONSTRAINT tracking_pkey DO UPDATE
       SET notification_id = excluded.notification_id, recorded_at = excluded.recorded_at
     WHERE t.notification_id < excluded.notification_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'notification % of % is tracked by % already', p_notification_id, p_upstream, p_application
            USING ERRCODE = 'unique_violation', TABLE = 'tracking';
    END IF;
END
$function$

-- name: append_stored_events_v1
-- Appends an application's events with the versions it gives them, all or none, and tracking with
-- them where p_upstream is given. unique_violation where a stream has such a version or a later one,
-- or the tracking is there already.
-- When it happened is inside the opaque state, so occurred_at is the time of recording.
CREATE FUNCTION ledger.append_stored_events_v1(
    p_event_ids       uuid[],
    p_stream_ids      text[],
    p_versions        bigint[],
    p_topics          text[],
    p_states          bytea[],
    p_salts           bytea[],
    p_application     text,
    p_upstream        text,
    p_notification_id bigint,
    OUT positions     bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    n    constant integer := cardinality(p_event_ids);
    base bigint;
    now_ timestamptz;
BEGIN
    -- The client may have switched this off for its session; what is acknowledged is durable.
    PERFORM set_config('synchronous_commit', 'on', true);
    positions := '{}';

    IF n > 0 THEN
        PERFORM FROM unnest(p_stream_ids, p_versions, p_topics) AS i (stream_id, version, topic)
          WHERE (starts_with(i.stream_id, p_application || '/') AND i.version >= 0
                 AND CASE p_application
                     WHEN '$prompt_packs'  -- the ledger's own application, with types of the ledger's own
                     THEN i.topic IN ('prompt_pack.published', 'prompt_pack.revised', 'prompt_pack.retired')
                     ELSE NOT starts_with(i.stream_id, '$') AND NOT ledger.is_own_type_v1(i.topic)
                     END) IS NOT TRUE;
        IF FOUND THEN
            RAISE EXCEPTION 'a stream that is not one of %, a version below 0 or a topic of the ledger''s own',
                            p_application
                USING ERRCODE = 'check_violation';
        END IF;

        UPDATE ledger.head AS h
           SET position = h.position + n,
               recorded_at = greatest(clock_timestamp(), h.recorded_at)
        RETURNING h.position - n, h.recorded_at INTO STRICT base, now_;

        -- In a stream the order of versions is that of positions, also where versions come from outside.
        PERFORM FROM (SELECT i.stream_id, i.version,
                             lag(i.version) OVER (PARTITION BY i.stream_id ORDER BY i.ordinal) AS previous
                        FROM unnest(p_stream_ids, p_versions)
                             WITH ORDINALITY AS i (stream_id, version, ordinal)) AS v
          WHERE v.version <= coalesce(v.previous, (SELECT e.version FROM ledger.events AS e
                                                    WHERE e.stream_id = v.stream_id
                                                    ORDER BY e.version DESC LIMIT 1), -1);
        IF FOUND THEN
            RAISE EXCEPTION 'a stream has this version, or a later one, already'
                USING ERRCODE = 'unique_violation', TABLE = 'events';
        END IF;

        WITH inserted AS (
            INSERT INTO ledger.events AS e (position, version, recorded_at, occurred_at, event_id,
                                            schema_version, stream_id, event_type, payload, salt,
                                            payload_commitment)
            SELECT base + i.ordinal, i.version, now_, now_, i.event_id, 1, i.stream_id, i.topic,
                   i.state, i.salt, ledger.payload_commitment_v1(i.salt, i.state)
              FROM unnest(p_event_ids, p_stream_ids, p_versions, p_topics, p_states, p_salts)
                   WITH ORDINALITY AS i (event_id, stream_id, version, topic, state, salt, ordinal)
            RETURNING e.position
        )
        SELECT array_agg(inserted.position ORDER BY inserted.position) INTO positions FROM inserted;
    END IF;

    IF p_upstream IS NOT NULL THEN
        PERFORM ledger.insert_tracking_v1(p_application, p_upstream, p_notification_id);
    END IF;
END
$function$

-- name: is_own_type_v1
-- Whether an event type is, or may one day be, one of the ledger's own, whose payload it reads.
CREATE FUNCTION ledger.is_own_type_v1(p_event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_event_type ~ '^(run|step|repair|artifact|prompt_pack|projection|payload)\.[a-z_]+$'

-- name: insert_snapshots_v1
CREATE FUNCTION ledger.insert_snapshots_v1(
    p_stream_ids text[], p_versions bigint[], p_topics text[], p_states bytea[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    INSERT INTO ledger.snapshots
    SELECT i.stream_id, i.version, i.topic, i.state, clock_timestamp()
      FROM unnest(p_stream_ids, p_versions, p_topics, p_states) AS i (stream_id, version, topic, state);
END
$function$

-- name: grants
DO $block$
DECLARE
    writer constant text := current_database() || '_writer';
    reader constant text := current_database() || '_reader';
BEGIN
    REVOKE ALL ON FUNCTION ledger.insert_tracking_v1, ledger.append_stored_events_v1,
                           ledger.is_own_type_v1, ledger.insert_snapshots_v1 FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.insert_tracking_v1, ledger.append_stored_events_v1, '
                   'ledger.insert_snapshots_v1 TO %I', writer);
    EXECUTE format('GRANT SELECT ON ledger.snapshots, ledger.tracking TO %I', reader);
END
$block$
