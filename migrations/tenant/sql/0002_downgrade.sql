-- Takes the projection schema away again; refused where prompt packs are stored.

-- name: refuse_with_prompts
DO $block$
BEGIN
    IF EXISTS (SELECT FROM projection.prompts) THEN
        RAISE EXCEPTION 'prompt packs are stored here and nowhere else: downgrade refused';
    END IF;
END
$block$

-- name: drop
DROP SCHEMA projection CASCADE
