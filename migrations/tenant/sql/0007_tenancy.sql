-- Logins per tenant and purpose, and what a tenant's life cycle needs.

-- name: revision_is_readable
-- Whoever opens a tenant's database asks for its revision; until here only its owner could.
DO $block$
BEGIN
    EXECUTE format('GRANT SELECT ON ledger.alembic_version TO %I', current_database() || '_reader');
END
$block$
