-- Takes the erasing function away again. What was erased stays erased, and its records stay.

-- name: drop_triggers
DROP TRIGGER erasure_recorded ON ledger.events

-- name: drop_immutable
DROP TRIGGER immutable ON ledger.events

-- name: events_immutable
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON ledger.events
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()

-- name: events_immutable_always
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable

-- name: drop_functions
DROP FUNCTION ledger.erase_payload_v1, ledger.only_erasure_v1, ledger.erasure_recorded_v1, ledger.erasure_id_v1

-- name: revoke
DO $block$
DECLARE
    eraser constant text := current_database() || '_eraser';
BEGIN
    EXECUTE format('REVOKE SELECT ON ledger.identity FROM %I', eraser);
    EXECUTE format('REVOKE USAGE ON SCHEMA ledger FROM %I', eraser);
END
$block$
