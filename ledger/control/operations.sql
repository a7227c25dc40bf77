-- What is under way with a tenant.

-- name: operation
SELECT kind, step, state, started_by, started_at FROM control.tenant_operations WHERE tenant_id = $1

-- name: begin_operation
INSERT INTO control.tenant_operations (tenant_id, kind, step, state, started_by) VALUES ($1, $2, $3, $4::jsonb, $5)

-- name: advance_operation
UPDATE control.tenant_operations SET step = $2, state = $3::jsonb, updated_at = now() WHERE tenant_id = $1

-- name: finish_operation
DELETE FROM control.tenant_operations WHERE tenant_id = $1

-- name: set_status
UPDATE control.tenants SET status = $2 WHERE tenant_id = $1
