-- The event store of one tenant. Run as the owner role <database>_owner; the roles
-- <database>_writer, _projector and _reader exist before (ledger/control/provisioning.py).

-- name: schema
CREATE SCHEMA IF NOT EXISTS ledger

-- name: identity
-- Whose database this is. Every new connection of the application asserts it.
CREATE TABLE ledger.identity (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    tenant_id text COLLATE "C" NOT NULL
)

-- name: head
-- The last position, in one row. Its lock orders all appends, which is what makes positions
-- gapless and commits ordered; recorded_at never decreases.
CREATE TABLE ledger.head (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position    bigint NOT NULL CHECK (position >= 0),
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10)

-- name: head_row
INSERT INTO ledger.head (position, recorded_at) VALUES (0, '-infinity')

-- name: events
CREATE TABLE ledger.events (
    position           bigint NOT NULL,
    version            bigint NOT NULL,
    recorded_at        timestamptz NOT NULL,
    occurred_at        timestamptz NOT NULL,
    event_id           uuid NOT NULL,
    attempt            integer CHECK (attempt >= 1),
    schema_version     smallint NOT NULL CHECK (schema_version >= 1),
    stream_id          text COLLATE "C" NOT NULL CHECK (stream_id <> ''),
    event_type         text COLLATE "C" NOT NULL CHECK (event_type <> ''),
    step_id            text COLLATE "C",
    actor              text,
    traceparent        text,
    payload            bytea CHECK (octet_length(payload) <= 65536),
    salt               bytea CHECK (octet_length(salt) = 16),
    -- sha256('daicho:payload:v1' || 0x00 || salt || payload): stays when payload and salt are erased
    payload_commitment bytea NOT NULL CHECK (octet_length(payload_commitment) = 32),
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_stream_version_key UNIQUE (stream_id, version),
    CONSTRAINT events_event_id_key UNIQUE (event_id),
    CONSTRAINT events_erased_whole CHECK ((payload IS NULL) = (salt IS NULL))
)

-- name: append_events_v1
-- Appends groups of events, each group whole or not at all, in order, and says what became of
-- each event: 'recorded', 'duplicate' (this id with this content is there; its first recording is
-- returned), 'conflict' (this id is there with other content), 'stale' (the stream is not at the
-- expected version) or 'withdrawn' (another event of its group was refused).
-- p_group_sizes adds up to the length of the other arrays. p_expected_versions may be NULL, or hold
-- per event NULL or the stream's version before it. Where all were recorded, which is nearly always,
-- `outcomes` is NULL and `positions` and `recorded_at` hold the first event's alone.
-- With p_flush false the commit does not wait for its flush: only append_contended_v1 may do so.
-- p_last_versions may tell per event which version its stream had when the caller last looked, and save
-- the look-up; one that is out of date meets the unique key on (stream_id, version) and is looked up.
CREATE FUNCTION ledger.append_events_v1(
    p_group_sizes       integer[],
    p_event_ids         uuid[],
    p_stream_ids        text[],
    p_event_types       text[],
    p_step_ids          text[],
    p_attempts          integer[],
    p_actors            text[],
    p_traceparents      text[],
    p_schema_versions   smallint[],
    p_occurred_at       timestamptz[],
    p_payloads          bytea[],
    p_salts             bytea[],
    p_expected_versions bigint[],
    p_flush             boolean DEFAULT true,
    p_last_versions     bigint[] DEFAULT NULL,
    OUT outcomes        text[],
    OUT positions       bigint[],
    OUT versions        bigint[],
    OUT recorded_at     timestamptz[]
)
LANGUAGE plpgsql SECURITY DEFINER
-- A plan made for these very arrays is never better, and planning takes as long as inserting ten rows.
SET search_path = pg_catalog, ledger, pg_temp SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    n     constant integer := cardinality(p_event_ids);
    base  bigint;
    now_  timestamptz;
BEGIN
    -- The client may have switched this off for its session; what is acknowledged is durable.
    -- (A SET clause on the function would be undone before the commit that it is meant for.)
    PERFORM set_config('synchronous_commit', CASE WHEN p_flush THEN 'on' ELSE 'off' END, true);

    IF p_expected_versions IS NULL THEN
        BEGIN
            UPDATE ledger.head AS h
               SET position = h.position + n,
                   recorded_at = greatest(clock_timestamp(), h.recorded_at)
            RETURNING h.position - n, h.recorded_at INTO STRICT base, now_;

            WITH input AS (
                SELECT * FROM unnest(p_event_ids, p_stream_ids, p_event_types, p_step_ids, p_attempts,
                                     p_actors, p_traceparents, p_schema_versions, p_occurred_at,
                                     p_payloads, p_salts, p_last_versions)
                    WITH ORDINALITY AS i (event_id, stream_id, event_type, step_id, attempt, actor,
                                          traceparent, schema_version, occurred_at, payload, salt,
                                          last_version, ordinal)
            ), streams AS MATERIALIZED (
                SELECT s.stream_id,
                       coalesce(s.last_version,
                                (SELECT e.version FROM ledger.events AS e
                                  WHERE e.stream_id = s.stream_id
                                  ORDER BY e.version DESC LIMIT 1),
                                0) AS last_version
                  FROM (SELECT input.stream_id, max(input.last_version) AS last_version
                          FROM input GROUP BY input.stream_id) AS s
            ), inserted AS (
                INSERT INTO ledger.events AS e
                SELECT base + i.ordinal,
                       s.last_version + row_number() OVER (PARTITION BY i.stream_id ORDER BY i.ordinal),
                       now_, i.occurred_at, i.event_id, i.attempt, i.schema_version, i.stream_id,
                       i.event_type, i.step_id, i.actor, i.traceparent, i.payload, i.salt,
                       ledger.payload_commitment_v1(i.salt, i.payload)
                  FROM input AS i JOIN streams AS s USING (stream_id)
                RETURNING e.position, e.version
            )
            SELECT array_agg(inserted.version ORDER BY inserted.position) INTO versions FROM inserted;
            positions := ARRAY[base + 1];
            recorded_at := ARRAY[now_];
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- An id is there already: nothing of the above happened; look at each event.
            NULL;
        END;
    END IF;

    SELECT a.outcomes, a.positions, a.versions, a.recorded_at
      INTO outcomes, positions, versions, recorded_at
      FROM ledger.append_one_by_one_v1(
               p_group_sizes, p_event_ids, p_stream_ids, p_event_types, p_step_ids, p_attempts,
               p_actors, p_traceparents, p_schema_versions, p_occurred_at, p_payloads, p_salts,
               p_expected_versions) AS a;

    IF NOT 'recorded' = ANY (outcomes) THEN
        -- This transaction writes nothing, so its commit flushes nothing: the first recordings that it
        -- answers with might be another's, committed and not yet flushed.
        PERFORM ledger.flushed_v1();
    END IF;
END
$function$

-- name: append_contended_v1
-- append_events_v1 for many processes on one tenant: the head's lock is held to the commit and not to
-- its flush, and the flush, which this waits for before it answers, serves all who committed meanwhile.
-- Between the two a reader could see what a crash may still take away and give to another event; so
-- readers call flushed_v1. (A procedure that commits can be neither SECURITY DEFINER nor SET anything.)
CREATE PROCEDURE ledger.append_contended_v1(
    p_group_sizes       integer[],
    p_event_ids         uuid[],
    p_stream_ids        text[],
    p_event_types       text[],
    p_step_ids          text[],
    p_attempts          integer[],
    p_actors            text[],
    p_traceparents      text[],
    p_schema_versions   smallint[],
    p_occurred_at       timestamptz[],
    p_payloads          bytea[],
    p_salts             bytea[],
    p_expected_versions bigint[],
    INOUT outcomes      text[] DEFAULT NULL,
    INOUT positions     bigint[] DEFAULT NULL,
    INOUT versions      bigint[] DEFAULT NULL,
    INOUT recorded_at   timestamptz[] DEFAULT NULL
)
LANGUAGE plpgsql
AS $procedure$
BEGIN
    SELECT a.outcomes, a.positions, a.versions, a.recorded_at
      INTO outcomes, positions, versions, recorded_at
      FROM ledger.append_events_v1(
               p_group_sizes, p_event_ids, p_stream_ids, p_event_types, p_step_ids, p_attempts,
               p_actors, p_traceparents, p_schema_versions, p_occurred_at, p_payloads, p_salts,
               p_expected_versions, p_flush => false) AS a;
    COMMIT;
    PERFORM pg_catalog.pg_logical_emit_message(false, 'daicho', '', true);
END
$procedure$

-- name: flushed_v1
-- True, once everything that was committed before the call is flushed. A reader's statement that holds
-- `(SELECT ledger.flushed_v1())` shows no event that a crash could take away.
CREATE FUNCTION ledger.flushed_v1() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    IF NOT pg_is_in_recovery() AND pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() THEN
        PERFORM pg_logical_emit_message(false, 'daicho', '', true);
    END IF;
    RETURN true;
END
$function$

-- name: append_event_v1
-- Appends one event: what append_events_v1 does without arrays and without a savepoint, for the writer
-- that is alone. An id that is there already raises unique_violation; append_events_v1 then tells.
CREATE FUNCTION ledger.append_event_v1(
    p_event_id       uuid,
    p_stream_id      text,
    p_event_type     text,
    p_step_id        text,
    p_attempt        integer,
    p_actor          text,
    p_traceparent    text,
    p_schema_version smallint,
    p_occurred_at    timestamptz,
    p_payload        bytea,
    p_salt           bytea,
    p_last_version   bigint DEFAULT NULL,
    OUT position_    bigint,
    OUT version_     bigint,
    OUT recorded_at_ timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, ledger, pg_temp SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    UPDATE ledger.head AS h
       SET position = h.position + 1, recorded_at = greatest(clock_timestamp(), h.recorded_at)
    RETURNING h.position, h.recorded_at INTO STRICT position_, recorded_at_;
    version_ := p_last_version;
    IF version_ IS NULL THEN
        SELECT e.version INTO version_ FROM ledger.events AS e
         WHERE e.stream_id = p_stream_id ORDER BY e.version DESC LIMIT 1;
    END IF;
    version_ := coalesce(version_, 0) + 1;
    INSERT INTO ledger.events
    VALUES (position_, version_, recorded_at_, p_occurred_at, p_event_id, p_attempt, p_schema_version, p_stream_id,
            p_event_type, p_step_id, p_actor, p_traceparent, p_payload, p_salt,
            ledger.payload_commitment_v1(p_salt, p_payload));
END
$function$

-- name: payload_commitment_v1
CREATE FUNCTION ledger.payload_commitment_v1(p_salt bytea, p_payload bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256('\x64616963686f3a7061796c6f61643a763100'::bytea || p_salt || p_payload)

-- name: append_one_by_one_v1
-- The careful path of append_events_v1: under the head's lock, event by event, group by group.
CREATE FUNCTION ledger.append_one_by_one_v1(
    p_group_sizes       integer[],
    p_event_ids         uuid[],
    p_stream_ids        text[],
    p_event_types       text[],
    p_step_ids          text[],
    p_attempts          integer[],
    p_actors            text[],
    p_traceparents      text[],
    p_schema_versions   smallint[],
    p_occurred_at       timestamptz[],
    p_payloads          bytea[],
    p_salts             bytea[],
    p_expected_versions bigint[],
    OUT outcomes        text[],
    OUT positions       bigint[],
    OUT versions        bigint[],
    OUT recorded_at     timestamptz[]
)
LANGUAGE plpgsql SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    n         constant integer := cardinality(p_event_ids);
    head_     bigint;
    next_     bigint;
    group_    integer;
    size_     integer;
    first_    integer := 1;
    refused   integer;
    now_      timestamptz;
    there     ledger.events;
    last_     bigint;
BEGIN
    outcomes := array_fill('withdrawn'::text, ARRAY[n]);
    positions := array_fill(NULL::bigint, ARRAY[n]);
    versions := array_fill(NULL::bigint, ARRAY[n]);
    recorded_at := array_fill(NULL::timestamptz, ARRAY[n]);

    SELECT h.position, greatest(clock_timestamp(), h.recorded_at) INTO STRICT head_, now_
      FROM ledger.head AS h FOR UPDATE;

    FOREACH size_ IN ARRAY p_group_sizes LOOP
        next_ := head_;
        BEGIN
            FOR i IN first_ .. first_ + size_ - 1 LOOP
                refused := i;
                SELECT * INTO there FROM ledger.events AS e WHERE e.event_id = p_event_ids[i];
                IF FOUND THEN
                    -- After an erasure the id alone decides.
                    IF there.payload IS NOT NULL AND NOT (
                            there.stream_id = p_stream_ids[i]
                            AND there.event_type = p_event_types[i]
                            AND there.step_id IS NOT DISTINCT FROM p_step_ids[i]
                            AND there.attempt IS NOT DISTINCT FROM p_attempts[i]
                            AND there.schema_version = p_schema_versions[i]
                            AND there.payload = p_payloads[i]) THEN
                        RAISE EXCEPTION SQLSTATE 'DA001';
                    END IF;
                    outcomes[i] := 'duplicate';
                    positions[i] := there.position;
                    versions[i] := there.version;
                    recorded_at[i] := there.recorded_at;
                    CONTINUE;
                END IF;
                SELECT e.version INTO last_ FROM ledger.events AS e
                 WHERE e.stream_id = p_stream_ids[i] ORDER BY e.version DESC LIMIT 1;
                last_ := coalesce(last_, 0);
                IF p_expected_versions[i] <> last_ THEN
                    RAISE EXCEPTION SQLSTATE 'DA002';
                END IF;
                next_ := next_ + 1;
                INSERT INTO ledger.events
                VALUES (next_, last_ + 1, now_, p_occurred_at[i], p_event_ids[i], p_attempts[i],
                        p_schema_versions[i], p_stream_ids[i], p_event_types[i], p_step_ids[i],
                        p_actors[i], p_traceparents[i], p_payloads[i], p_salts[i],
                        ledger.payload_commitment_v1(p_salts[i], p_payloads[i]));
                outcomes[i] := 'recorded';
                positions[i] := next_;
                versions[i] := last_ + 1;
                recorded_at[i] := now_;
            END LOOP;
            head_ := next_;
        EXCEPTION
            WHEN SQLSTATE 'DA001' OR SQLSTATE 'DA002' THEN
                FOR i IN first_ .. first_ + size_ - 1 LOOP
                    outcomes[i] := 'withdrawn';
                    positions[i] := NULL;
                    versions[i] := NULL;
                    recorded_at[i] := NULL;
                END LOOP;
                outcomes[refused] := CASE SQLSTATE WHEN 'DA001' THEN 'conflict' ELSE 'stale' END;
                positions[refused] := CASE SQLSTATE WHEN 'DA001' THEN there.position END;
                versions[refused] := CASE SQLSTATE WHEN 'DA001' THEN there.version ELSE last_ END;
        END;
        first_ := first_ + size_;
    END LOOP;

    UPDATE ledger.head AS h SET position = head_, recorded_at = now_ WHERE h.position <> head_;
END
$function$

-- name: refuse_change_v1
CREATE FUNCTION ledger.refuse_change_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION 'ledger.% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Record a new event that says what is different.';
END
$function$

-- name: head_only_advances_v1
CREATE FUNCTION ledger.head_only_advances_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at THEN
        RAISE EXCEPTION 'ledger.head only advances: % to % refused', OLD.position, NEW.position
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$function$

-- name: events_immutable
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.events
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: events_not_truncated
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON ledger.events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: head_advances
CREATE TRIGGER only_advances BEFORE UPDATE ON ledger.head
    FOR EACH ROW EXECUTE FUNCTION ledger.head_only_advances_v1()

-- name: head_kept
CREATE TRIGGER immutable BEFORE DELETE ON ledger.head
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: head_not_truncated
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON ledger.head
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: identity_immutable
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.identity
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: identity_not_truncated
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON ledger.identity
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: triggers_always
-- An ordinary trigger is passed over under session_replication_role = replica.
DO $block$
DECLARE t record;
BEGIN
    FOR t IN SELECT g.tgname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
             WHERE c.relnamespace = 'ledger'::regnamespace AND NOT g.tgisinternal LOOP
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER %I', t.relname, t.tgname);
    END LOOP;
END
$block$

-- name: grants
DO $block$
DECLARE
    writer    constant text := current_database() || '_writer';
    projector constant text := current_database() || '_projector';
    reader    constant text := current_database() || '_reader';
BEGIN
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    REVOKE ALL ON ALL ROUTINES IN SCHEMA ledger FROM PUBLIC;
    EXECUTE format('GRANT USAGE ON SCHEMA ledger TO %I, %I, %I', writer, projector, reader);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.append_event_v1, ledger.append_events_v1 TO %I', writer);
    EXECUTE format('GRANT EXECUTE ON PROCEDURE ledger.append_contended_v1 TO %I', writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.flushed_v1 TO %I, %I', projector, reader);
    EXECUTE format('GRANT SELECT ON ledger.identity TO %I, %I, %I', writer, projector, reader);
    EXECUTE format('GRANT SELECT ON ledger.events, ledger.head TO %I, %I', projector, reader);
END
$block$
