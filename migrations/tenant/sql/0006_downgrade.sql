-- Takes collecting garbage away again. Fences go too: do not go back while something is being put.

-- name: drop_trigger
DROP TRIGGER not_fenced ON ledger.events

-- name: drop_functions
DROP FUNCTION ledger.condemn_blobs_v1, ledger.blobs_deleted_v1, ledger.take_over_fences_v1, ledger.lift_fence_v1,
              ledger.refuse_fenced_v1

-- name: drop_table
DROP TABLE ledger.blob_fences

-- name: is_own_type_v1
CREATE OR REPLACE FUNCTION ledger.is_own_type_v1(p_event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_event_type ~ '^(run|step|repair|artifact|prompt_pack|projection|payload)\.[a-z_]+$'

-- name: revoke
DO $block$
DECLARE
    collector constant text := current_database() || '_collector';
BEGIN
    EXECUTE format('REVOKE SELECT ON ledger.identity FROM %I', collector);
    EXECUTE format('REVOKE USAGE ON SCHEMA ledger FROM %I', collector);
END
$block$
