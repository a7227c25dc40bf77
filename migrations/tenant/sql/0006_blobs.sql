-- Collecting garbage: which blobs are being deleted, or were, so that no event comes to refer to one of them.
--
-- fence      of a digest: a row here. While it stands no artifact.stored of that digest is recorded
-- condemned  digest: under the head's lock no event was found that mentions it. Its blob may be deleted
-- deleted    digest: the delete has returned. Whoever puts the blob again may then lift the fence
--
-- A fence stays until it is lifted: it is what keeps somebody who put the blob before its deletion, and
-- was stopped since, from recording a reference to nothing. ARCHITECTURE.md has the argument.
-- The role <database>_collector exists before (ledger/control/roles.py).

-- name: blob_fences
CREATE TABLE ledger.blob_fences (
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    fence_id   uuid NOT NULL,  -- another one each time a digest is condemned
    is_deleted boolean NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT blob_fences_pkey PRIMARY KEY (digest)
)

-- name: unfinished_fences_index
CREATE INDEX blob_fences_unfinished_idx ON ledger.blob_fences (changed_at) WHERE NOT is_deleted

-- name: condemn_blobs_v1
-- Condemns those of p_digests that no event after p_seen mentions (the caller has looked at the others), and
-- returns them. NULL, and nothing done, where more than p_unseen_max events came since p_seen.
-- An event mentions a digest where its 64 digits stand in the payload: ledger/upkeep/references.py.
CREATE FUNCTION ledger.condemn_blobs_v1(p_digests bytea[], p_seen bigint, p_unseen_max integer) RETURNS bytea[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    head_     bigint;
    condemned bytea[];
BEGIN
    -- The fence must outlast a crash, because the deletion will.
    PERFORM set_config('synchronous_commit', 'on', true);
    -- The lock that orders all appends; an update, so that an append in a transaction that began before,
    -- and would not see the fence, fails at the head.
    UPDATE ledger.head AS h SET position = h.position RETURNING h.position INTO STRICT head_;
    IF head_ - p_seen > p_unseen_max THEN
        RETURN NULL;
    END IF;
    WITH fenced AS (
        INSERT INTO ledger.blob_fences AS f (digest, fence_id, is_deleted, changed_at)
        SELECT d, gen_random_uuid(), false, clock_timestamp()
          FROM unnest(p_digests) AS d
         WHERE NOT EXISTS (SELECT FROM ledger.events AS e
                            WHERE e.position > p_seen
                              AND position(convert_to(encode(d, 'hex'), 'UTF8') IN e.payload) > 0)
        ON CONFLICT ON CONSTRAINT blob_fences_pkey DO UPDATE
           SET fence_id = excluded.fence_id, is_deleted = false, changed_at = excluded.changed_at
        RETURNING f.digest
    )
    SELECT coalesce(array_agg(fenced.digest), '{}') INTO condemned FROM fenced;
    RETURN condemned;
END
$function$

-- name: blobs_deleted_v1
CREATE FUNCTION ledger.blobs_deleted_v1(p_digests bytea[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    UPDATE ledger.blob_fences AS f SET is_deleted = true, changed_at = clock_timestamp()
     WHERE f.digest = ANY (p_digests);
END
$function$

-- name: take_over_fences_v1
-- Condemned digests whose sweep was not heard of for p_seconds, at most p_most of them: theirs is the
-- caller's to delete now, and nobody else's for as long.
CREATE FUNCTION ledger.take_over_fences_v1(p_seconds double precision, p_most integer) RETURNS SETOF bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    RETURN QUERY
        UPDATE ledger.blob_fences AS f SET changed_at = clock_timestamp()
         WHERE f.digest IN (SELECT u.digest FROM ledger.blob_fences AS u
                             WHERE NOT u.is_deleted
                               AND u.changed_at <= clock_timestamp() - make_interval(secs => p_seconds)
                             LIMIT p_most)
        RETURNING f.digest;
END
$function$

-- name: lift_fence_v1
-- Whether the fence p_fence_id stood, its blob deleted, and was taken away. Only after the blob was put again,
-- and that put must have begun after p_fence_id was seen as deleted.
CREATE FUNCTION ledger.lift_fence_v1(p_digest bytea, p_fence_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
BEGIN
    DELETE FROM ledger.blob_fences AS f
     WHERE f.digest = p_digest AND f.fence_id = p_fence_id AND f.is_deleted;
    RETURN FOUND;
END
$function$

-- name: refuse_fenced_v1
-- DA006: the blob that the event refers to was collected. An append holds the head's lock here, so whatever
-- condemn_blobs_v1 did is either seen here, or it sees this event.
CREATE FUNCTION ledger.refuse_fenced_v1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $function$
DECLARE
    digest_ constant text := convert_from(NEW.payload, 'UTF8')::json #>> '{ref,digest}';
BEGIN
    IF EXISTS (SELECT FROM ledger.blob_fences AS f WHERE f.digest = decode(digest_, 'hex')) THEN
        RAISE EXCEPTION SQLSTATE 'DA006'
            USING MESSAGE = 'the blob was collected as garbage', DETAIL = digest_;
    END IF;
    RETURN NEW;
END
$function$

-- name: not_fenced
-- Other events refer to what an artifact.stored recorded before them; only these are asked.
CREATE TRIGGER not_fenced BEFORE INSERT ON ledger.events
    FOR EACH ROW WHEN (NEW.event_type = 'artifact.stored') EXECUTE FUNCTION ledger.refuse_fenced_v1()

-- name: not_fenced_always
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER not_fenced

-- name: is_own_type_v1
-- As before, and blobs.collected.
CREATE OR REPLACE FUNCTION ledger.is_own_type_v1(p_event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_event_type ~ '^(run|step|repair|artifact|prompt_pack|projection|payload|blobs)\.[a-z_]+$'

-- name: grants
DO $block$
DECLARE
    writer    constant text := current_database() || '_writer';
    reader    constant text := current_database() || '_reader';
    collector constant text := current_database() || '_collector';
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), collector);
    EXECUTE format('GRANT USAGE ON SCHEMA ledger TO %I', collector);
    EXECUTE format('GRANT SELECT ON ledger.identity TO %I', collector);
    EXECUTE format('GRANT SELECT ON ledger.blob_fences TO %I', reader);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.condemn_blobs_v1, ledger.blobs_deleted_v1, '
                   'ledger.take_over_fences_v1 TO %I', collector);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ledger.lift_fence_v1 TO %I', writer);
END
$block$
