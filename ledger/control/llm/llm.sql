-- The LLM catalogue, in the control database.

-- name: lock_changes
-- One change of the catalogue at a time, to the end of its transaction: what is recorded as "before" was.
SELECT pg_advisory_xact_lock(hashtextextended('daicho.llm', 0))

-- name: providers
SELECT provider_id, name, base_url, key_variable
  FROM control.llm_providers ORDER BY provider_id

-- name: provider
SELECT provider_id, name, base_url, key_variable
  FROM control.llm_providers WHERE provider_id = $1

-- name: set_provider
INSERT INTO control.llm_providers (provider_id, name, base_url, key_variable)
VALUES ($1, $2, $3, $4)
ON CONFLICT (provider_id) DO UPDATE
   SET name = excluded.name, base_url = excluded.base_url, key_variable = excluded.key_variable,
       updated_at = now()

-- name: remove_provider
DELETE FROM control.llm_providers WHERE provider_id = $1

-- name: models_of_provider
SELECT model_id FROM control.llm_models WHERE provider_id = $1 ORDER BY model_id

-- name: models
SELECT model_id, provider_id, name, context_window_tokens, price_input_per_million, price_output_per_million,
       currency, capabilities
  FROM control.llm_models ORDER BY model_id

-- name: model
SELECT model_id, provider_id, name, context_window_tokens, price_input_per_million, price_output_per_million,
       currency, capabilities
  FROM control.llm_models WHERE model_id = $1

-- name: set_model
INSERT INTO control.llm_models (model_id, provider_id, name, context_window_tokens, price_input_per_million,
                                price_output_per_million, currency, capabilities)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (model_id) DO UPDATE
   SET provider_id = excluded.provider_id, name = excluded.name,
       context_window_tokens = excluded.context_window_tokens,
       price_input_per_million = excluded.price_input_per_million,
       price_output_per_million = excluded.price_output_per_million,
       currency = excluded.currency, capabilities = excluded.capabilities, updated_at = now()

-- name: remove_model
DELETE FROM control.llm_models WHERE model_id = $1

-- name: steps_of_model
SELECT step_id FROM control.step_llm_defaults WHERE model_id = $1 ORDER BY step_id

-- name: defaults
SELECT step_id, model_id, parameters FROM control.step_llm_defaults ORDER BY step_id

-- name: default
SELECT step_id, model_id, parameters FROM control.step_llm_defaults WHERE step_id = $1

-- name: set_default
INSERT INTO control.step_llm_defaults (step_id, model_id, parameters)
VALUES ($1, $2, $3)
ON CONFLICT (step_id) DO UPDATE
   SET model_id = excluded.model_id, parameters = excluded.parameters, updated_at = now()

-- name: remove_default
DELETE FROM control.step_llm_defaults WHERE step_id = $1

-- name: resolve
-- The one model of a step, and its provider: one row, or none.
SELECT d.step_id, d.parameters,
       m.model_id, m.provider_id, m.name AS model_name, m.context_window_tokens, m.price_input_per_million,
       m.price_output_per_million, m.currency, m.capabilities,
       p.name AS provider_name, p.base_url, p.key_variable
  FROM control.step_llm_defaults d
  JOIN control.llm_models m USING (model_id)
  JOIN control.llm_providers p USING (provider_id)
 WHERE d.step_id = $1
