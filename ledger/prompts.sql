-- name: newest_version
SELECT version, name, template
  FROM projection.prompts
 WHERE pack_id = $1 AND version = (SELECT max(version) FROM projection.prompts WHERE pack_id = $1)
 ORDER BY name
