-- Takes the projection schema away again: every row of it can be folded from the events anew.

-- name: drop
DROP SCHEMA projection CASCADE
