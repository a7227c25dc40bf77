-- Takes revision 0002 away again, where nothing is lost by it.

-- name: refuse_loss
DO $block$
BEGIN
    IF EXISTS (SELECT FROM control.control_audit) THEN
        RAISE EXCEPTION 'downgrading to 0001 would drop the audit trail of this control database';
    END IF;
    IF EXISTS (SELECT FROM control.database_servers WHERE address IS NOT NULL) THEN
        RAISE EXCEPTION 'revision 0001 knows one database server, and this catalogue names others';
    END IF;
    IF EXISTS (SELECT FROM control.tenant_operations)
       OR EXISTS (SELECT FROM control.tenants WHERE status NOT IN ('creating', 'active', 'suspended')) THEN
        RAISE EXCEPTION 'an operation on a tenant is under way, or was finished, that revision 0001 does not know';
    END IF;
END
$block$

-- name: control_audit
DROP TABLE control.control_audit

-- name: refuse_change_v1
DROP FUNCTION control.refuse_change_v1

-- name: tenant_operations
DROP TABLE control.tenant_operations

-- name: tenants
ALTER TABLE control.tenants
    DROP COLUMN server_name,
    DROP COLUMN schema_revision,
    DROP COLUMN former_ids,
    DROP CONSTRAINT tenants_status_check,
    ADD CONSTRAINT tenants_status_check CHECK (status IN ('creating', 'active', 'suspended'))

-- name: database_servers
DROP TABLE control.database_servers

-- name: step_llm_defaults_of_a_model
DROP INDEX control.step_llm_defaults_model_id

-- name: llm_models_of_a_provider
DROP INDEX control.llm_models_provider_id

-- name: llm_models
ALTER TABLE control.llm_models DROP CONSTRAINT llm_models_priced_whole, DROP COLUMN updated_at

-- name: llm_providers
-- What was set since 0001 stands in the audit trail too, without which nothing gets here.
ALTER TABLE control.llm_providers DROP COLUMN key_variable, DROP COLUMN updated_at

-- name: whoever_can_log_in
DO $block$
BEGIN
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC', current_database());
END
$block$
