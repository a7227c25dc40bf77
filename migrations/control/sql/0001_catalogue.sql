-- The control database: which tenants there are and where, and which models their steps may use.

-- name: schema
CREATE SCHEMA IF NOT EXISTS control

-- name: tenants
-- database_name and blob_prefix are random and made here once; nothing derives them from the id.
CREATE TABLE control.tenants (
    tenant_id     text COLLATE "C" PRIMARY KEY,
    name          text NOT NULL CHECK (name <> ''),
    status        text NOT NULL CHECK (status IN ('creating', 'active', 'suspended')),
    database_name text COLLATE "C" NOT NULL UNIQUE CHECK (database_name ~ '^t_[0-9a-f]{32}$'),
    blob_prefix   text COLLATE "C" NOT NULL UNIQUE CHECK (blob_prefix ~ '^t_[0-9a-f]{32}$'),
    created_at    timestamptz NOT NULL DEFAULT now()
)

-- name: llm_providers
CREATE TABLE control.llm_providers (
    provider_id text COLLATE "C" PRIMARY KEY,
    name        text NOT NULL,
    base_url    text,
    created_at  timestamptz NOT NULL DEFAULT now()
)

-- name: llm_models
CREATE TABLE control.llm_models (
    model_id                       text COLLATE "C" PRIMARY KEY,
    provider_id                    text COLLATE "C" NOT NULL REFERENCES control.llm_providers,
    name                           text NOT NULL,
    context_window_tokens          integer CHECK (context_window_tokens > 0),
    price_input_per_million        numeric(18, 6) CHECK (price_input_per_million >= 0),
    price_output_per_million       numeric(18, 6) CHECK (price_output_per_million >= 0),
    currency                       text,
    capabilities                   text[] NOT NULL DEFAULT '{}',
    created_at                     timestamptz NOT NULL DEFAULT now()
)

-- name: step_llm_defaults
-- One model per step, or none: no second choice is ever made.
CREATE TABLE control.step_llm_defaults (
    step_id    text COLLATE "C" PRIMARY KEY,
    model_id   text COLLATE "C" NOT NULL REFERENCES control.llm_models,
    parameters jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
)
