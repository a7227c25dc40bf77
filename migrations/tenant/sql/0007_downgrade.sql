-- Takes revision 0007 away again.

-- name: revision_is_readable
DO $block$
BEGIN
    EXECUTE format('REVOKE SELECT ON ledger.alembic_version FROM %I', current_database() || '_reader');
END
$block$
