-- The control plane: database servers, the life of a tenant, and who changed what.

-- name: only_those_who_are_let_in
-- By default whoever can log in may connect to any database: the tenants' logins, too.
DO $block$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', current_database(), current_user);
END
$block$

-- name: database_servers
-- Where tenants' databases are. `address` is a URL without password (the environment or a file holds that);
-- NULL is the one server of the settings, on which this database itself lies.
CREATE TABLE control.database_servers (
    server_name         text COLLATE "C" PRIMARY KEY CHECK (server_name ~ '^[a-z][a-z0-9_]{0,39}$'),
    address             text COLLATE "C" UNIQUE
                        CHECK (address ~ '^postgresql://' AND address !~ '//[^/?#]*:[^/?#]*@'
                               AND address !~* '[?&]password='),
    tenants_max         integer CHECK (tenants_max >= 0),
    accepts_new_tenants boolean NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now()
)

-- name: one_server_of_the_settings
CREATE UNIQUE INDEX database_servers_of_the_settings ON control.database_servers ((true)) WHERE address IS NULL

-- name: server_of_the_settings
INSERT INTO control.database_servers (server_name) VALUES ('control')

-- name: tenants
-- schema_revision is what the last provisioning or migration left; the tenant's database has the last word.
ALTER TABLE control.tenants
    ADD COLUMN server_name text COLLATE "C" NOT NULL DEFAULT 'control' REFERENCES control.database_servers,
    ADD COLUMN schema_revision text COLLATE "C",
    DROP CONSTRAINT tenants_status_check,
    ADD CONSTRAINT tenants_status_check CHECK (
        status IN ('creating', 'active', 'suspended', 'moving', 'importing', 'deleting', 'deleted'))

-- name: former_ids
-- A tenant that was imported keeps its log to the last byte, and with it paths that name its id of then.
ALTER TABLE control.tenants ADD COLUMN former_ids text[] COLLATE "C" NOT NULL DEFAULT '{}'

-- name: tenants_are_placed
-- From here on whoever makes a tenant says where: the placement rule, never a default.
ALTER TABLE control.tenants ALTER COLUMN server_name DROP DEFAULT

-- name: tenants_of_a_server
CREATE INDEX tenants_server_name ON control.tenants (server_name)

-- name: tenant_operations
-- What is under way with a tenant and how far it has come, so that it is finished after a kill: one
-- operation at a time. The row goes, in one transaction with the last change, when it is done.
CREATE TABLE control.tenant_operations (
    tenant_id  text COLLATE "C" PRIMARY KEY REFERENCES control.tenants,
    kind       text COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z_]+$'),
    step       text COLLATE "C" NOT NULL CHECK (step ~ '^[a-z_]+$'),
    state      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(state) = 'object'),
    started_by text NOT NULL CHECK (started_by <> ''),
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)

-- name: control_audit
-- Who changed what in this database, when and why; written in the transaction of the change itself.
CREATE TABLE control.control_audit (
    entry_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor         text NOT NULL CHECK (actor <> ''),
    action        text COLLATE "C" NOT NULL CHECK (action ~ '^[a-z_]+(\.[a-z_]+)+$'),
    subject       text COLLATE "C" NOT NULL CHECK (subject ~ '^[a-z_]+:.'),
    reason        text CHECK (reason <> ''),
    details       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    database_user text NOT NULL DEFAULT session_user
)

-- name: control_audit_of_a_subject
CREATE INDEX control_audit_subject ON control.control_audit (subject, entry_id)

-- name: refuse_change_v1
CREATE FUNCTION control.refuse_change_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION 'control.% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Record another act that says what is different.';
END
$function$

-- name: control_audit_immutable
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON control.control_audit
    FOR EACH ROW EXECUTE FUNCTION control.refuse_change_v1()

-- name: control_audit_not_truncated
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON control.control_audit
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change_v1()

-- name: control_audit_always
-- An ordinary trigger is passed over under session_replication_role = replica.
ALTER TABLE control.control_audit
    ENABLE ALWAYS TRIGGER immutable, ENABLE ALWAYS TRIGGER not_truncated

-- The LLM catalogue ------------------------------------------------------------------------------

-- name: llm_providers
-- A key is never kept here: key_variable names the environment variable that holds it.
ALTER TABLE control.llm_providers
    ADD COLUMN key_variable text COLLATE "C" CHECK (key_variable ~ '^[A-Z_][A-Z0-9_]{0,99}$'),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now()

-- name: llm_models
-- A price is whole, both ways and with its currency, or unknown. NaN is greater than all numbers, so >= 0 lets it in.
ALTER TABLE control.llm_models
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT llm_models_priced_whole CHECK (
        num_nonnulls(price_input_per_million, price_output_per_million, currency) IN (0, 3)
        AND price_input_per_million < 'NaN' AND price_output_per_million < 'NaN' AND currency ~ '^[A-Z]{3}$')

-- name: llm_models_of_a_provider
CREATE INDEX llm_models_provider_id ON control.llm_models (provider_id)

-- name: step_llm_defaults_of_a_model
CREATE INDEX step_llm_defaults_model_id ON control.step_llm_defaults (model_id)
