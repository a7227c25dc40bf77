-- Erasing a payload: the one change that the log allows, and only together with its record.
--
-- erasure  of an event: its payload and salt become NULL, its payload_commitment stays
-- record   of the erasure: a payload.erased in the stream $tenant, appended in the same transaction
--
-- Each demands the other, whoever asks: `immutable` lets payload and salt go only where the record was
-- inserted by this same transaction, `erasure_recorded` lets a record in only where this same transaction
-- erased. (The record's row version carries the transaction's id, which nobody can set.)
-- The role <database>_eraser exists before (ledger/control/roles.py).

-- name: erasure_id_v1
-- The id of the record of an event's erasure: a UUID of version 8 (RFC 9562) made from
-- sha256('daicho:erasure:v1' || 0x00 || event_id). So there is one record at most, found without a search.
-- A body of this form is bound to what it names when it is made: no search_path plays a part.
CREATE FUNCTION ledger.erasure_id_v1(p_event_id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN overlay(overlay(left(encode(sha256('\x64616963686f3a657261737572653a763100'::bytea || uuid_send(p_event_id)),
                                   'hex'), 32) PLACING '8' FROM 13 FOR 1) PLACING 'a' FROM 17 FOR 1)::uuid

-- name: erase_payload_v1
-- Erases the payload of the event at p_position and returns the record; of an erased one, the first record.
-- DA003: no such position. DA004: a record of an erasure is never erased. DA005: by whom and why is missing.
-- States of aggregates that were taken after the event could hold what it said: they go too.
CREATE FUNCTION ledger.erase_payload_v1(p_position bigint, p_by text, p_reason text) RETURNS ledger.events
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    erased  ledger.events;
    record_ ledger.events;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF coalesce(btrim(p_by), '') = '' OR coalesce(btrim(p_reason), '') = '' THEN
        RAISE EXCEPTION SQLSTATE 'DA005' USING MESSAGE = 'an erasure says by whom it is and why';
    END IF;

    SELECT h.position + 1, greatest(clock_timestamp(), h.recorded_at)
      INTO STRICT record_.position, record_.recorded_at
      FROM ledger.head AS h FOR UPDATE;
    SELECT * INTO erased FROM ledger.events AS e WHERE e.position = p_position;
    IF NOT FOUND THEN
        RAISE EXCEPTION SQLSTATE 'DA003' USING MESSAGE = format('there is no position %s', p_position);
    END IF;
    IF erased.event_type = 'payload.erased' THEN
        RAISE EXCEPTION SQLSTATE 'DA004' USING MESSAGE = 'the record of an erasure is never erased';
    END IF;
    IF erased.payload IS NULL THEN
        SELECT * INTO STRICT record_ FROM ledger.events AS e
         WHERE e.event_id = ledger.erasure_id_v1(erased.event_id);
        RETURN record_;
    END IF;

    SELECT coalesce(max(e.version), 0) + 1 INTO record_.version
      FROM ledger.events AS e WHERE e.stream_id = '$tenant';
    record_.occurred_at := record_.recorded_at;
    record_.event_id := ledger.erasure_id_v1(erased.event_id);
    record_.schema_version := 1;
    record_.stream_id := '$tenant';
    record_.event_type := 'payload.erased';
    record_.actor := p_by;
    record_.payload := convert_to(
        format('{"by":%s,"event_id":"%s","position":%s,"reason":%s}',
               to_json(p_by), erased.event_id, erased.position, to_json(p_reason)), 'UTF8');
    record_.salt := substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16);
    record_.payload_commitment := ledger.payload_commitment_v1(record_.salt, record_.payload);

    UPDATE ledger.head AS h SET position = record_.position, recorded_at = record_.recorded_at;
    INSERT INTO ledger.events SELECT record_.*;
    UPDATE ledger.events AS e SET payload = NULL, salt = NULL WHERE e.position = erased.position;
    DELETE FROM ledger.snapshots AS s WHERE s.stream_id = erased.stream_id AND s.version >= erased.version;
    RETURN record_;
END
$function$

-- name: only_erasure_v1
CREATE FUNCTION ledger.only_erasure_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    erased ledger.events;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.payload IS NOT NULL AND OLD.event_type <> 'payload.erased' THEN
        erased := OLD;
        erased.payload := NULL;
        erased.salt := NULL;
        IF NEW IS NOT DISTINCT FROM erased AND EXISTS (
                SELECT FROM ledger.events AS e
                 WHERE e.event_id = ledger.erasure_id_v1(OLD.event_id)
                   AND e.event_type = 'payload.erased'
                   AND e.xmin = pg_current_xact_id()::xid) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'ledger.events is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Record a new event that says what is different. A payload is erased by ledger.erase_payload_v1.';
END
$function$

-- name: erasure_recorded_v1
-- Runs at commit; with the owner's rights, because before PostgreSQL 18 that is in the session's role.
CREATE FUNCTION ledger.erasure_recorded_v1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    IF NEW.stream_id = '$tenant' AND EXISTS (
            SELECT FROM ledger.events AS e
             WHERE e.position = (convert_from(NEW.payload, 'UTF8')::json ->> 'position')::bigint
               AND e.payload IS NULL
               AND ledger.erasure_id_v1(e.event_id) = NEW.event_id
               AND e.xmin = pg_current_xact_id()::xid) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'a payload.erased that erased nothing is refused'
        USING ERRCODE = 'insufficient_privilege', HINT = 'ledger.erase_payload_v1 erases and records it.';
END
$function$

-- name: events_immutable_dropped
DROP TRIGGER immutable ON ledger.events

-- name: events_immutable
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.events
    FOR EACH ROW EXECUTE FUNCTION ledger.only_erasure_v1()

-- name: events_immutable_always
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable

-- name: erasure_recorded
CREATE CONSTRAINT TRIGGER erasure_recorded AFTER INSERT ON ledger.events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.event_type = 'payload.erased') EXECUTE FUNCTION ledger.erasure_recorded_v1()

-- name: erasure_recorded_always
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER erasure_recorded

-- name: grants
-- From here on a function that a migration makes is nobody's but its owner's until it is granted.
DO $block$
DECLARE
    projector constant text := current_database() || '_projector';
    eraser    constant text := current_database() || '_eraser';
BEGIN
    ALTER DEFAULT PRIVILEGES REVOKE ALL ON ROUTINES FROM PUBLIC;
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON ROUTINES FROM PUBLIC', projector);
    REVOKE ALL ON ALL ROUTINES IN SCHEMA ledger FROM PUBLIC;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), eraser);
    EXECUTE format('GRANT USAGE ON SCHEMA ledger TO %I', eraser);
    EXECUTE format('GRANT SELECT ON ledger.identity TO %I', eraser);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.erase_payload_v1 TO %I', eraser);
END
$block$
