-- What the catalogue is asked.

-- name: lock_tenant
-- One provisioner per tenant; held by the session until it is closed or unlocked.
SELECT pg_advisory_lock(hashtextextended('daicho.provision:' || $1, 0))

-- name: reserve_tenant
INSERT INTO control.tenants (tenant_id, name, status, database_name, blob_prefix, server_name)
VALUES ($1, $2, 'creating', $3, $4, $5)

-- name: activate
UPDATE control.tenants SET status = 'active', schema_revision = $2 WHERE tenant_id = $1

-- name: note_revision
UPDATE control.tenants SET schema_revision = $2 WHERE tenant_id = $1

-- name: find_tenant
SELECT tenant_id, name, status, database_name, blob_prefix, created_at, server_name, schema_revision, former_ids
  FROM control.tenants WHERE tenant_id = $1

-- name: list_tenants
SELECT tenant_id, name, status, database_name, blob_prefix, created_at, server_name, schema_revision, former_ids
  FROM control.tenants ORDER BY tenant_id

-- name: set_status
UPDATE control.tenants SET status = $2 WHERE tenant_id = $1

-- name: rename
UPDATE control.tenants SET name = $2 WHERE tenant_id = $1

-- name: roles_present
SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])) AS present

-- name: lock_roles
SELECT pg_advisory_lock(hashtextextended('daicho.roles:' || $1, 0))

-- name: database_exists
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)

-- name: set_identity
INSERT INTO ledger.identity (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING

-- name: revision
SELECT version_num FROM ledger.alembic_version

-- name: notify
-- Hints need no flush; without this line each would wait for one.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, payload)
  FROM unnest($2::text[]) AS payload
