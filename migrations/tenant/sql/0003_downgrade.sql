-- Takes snapshots and tracking away again; refused where tracking is recorded, for an application
-- that lost it would process everything a second time. Events that were recorded stay.

-- name: refuse_with_tracking
DO $block$
BEGIN
    IF EXISTS (SELECT FROM ledger.tracking) THEN
        RAISE EXCEPTION 'tracking is recorded here and nowhere else: downgrade refused';
    END IF;
END
$block$

-- name: drop_functions
DROP FUNCTION ledger.append_stored_events_v1, ledger.insert_snapshots_v1, ledger.insert_tracking_v1,
              ledger.is_own_type_v1

-- name: drop_tables
DROP TABLE ledger.snapshots, ledger.tracking

-- name: drop_index
DROP INDEX ledger.events_application_idx
