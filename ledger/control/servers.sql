-- Database servers in the catalogue, and what is asked of one before it is added.

-- name: list
SELECT s.server_name, s.address, s.tenants_max, s.accepts_new_tenants, s.created_at,
       count(t.tenant_id) FILTER (WHERE t.status <> 'deleted') AS tenants
  FROM control.database_servers AS s LEFT JOIN control.tenants AS t USING (server_name)
 GROUP BY s.server_name ORDER BY s.server_name

-- name: lock
-- Placements are made one after the other, so that no server takes more than it should.
SELECT server_name FROM control.database_servers ORDER BY server_name FOR UPDATE

-- name: loads
SELECT s.server_name, s.accepts_new_tenants, s.tenants_max,
       count(t.tenant_id) FILTER (WHERE t.status <> 'deleted') AS tenants
  FROM control.database_servers AS s LEFT JOIN control.tenants AS t USING (server_name)
 GROUP BY s.server_name

-- name: add
INSERT INTO control.database_servers (server_name, address, tenants_max, accepts_new_tenants)
VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: change
UPDATE control.database_servers
   SET tenants_max = coalesce($2, tenants_max), accepts_new_tenants = coalesce($3, accepts_new_tenants)
 WHERE server_name = $1

-- name: remove
DELETE FROM control.database_servers AS s
 WHERE s.server_name = $1 AND NOT EXISTS (SELECT FROM control.tenants AS t WHERE t.server_name = s.server_name)

-- name: fit
SELECT rolsuper OR (rolcreatedb AND rolcreaterole) AS may_make_tenants
  FROM pg_roles WHERE rolname = current_user
