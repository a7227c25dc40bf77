-- Keeping writers out of a tenant's database.

-- name: hold_head
SELECT position FROM ledger.head FOR UPDATE

-- name: end_sessions
SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity WHERE datname = $1 AND usename = ANY ($2::name[])

-- name: kept_out
SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1::name[]) AND rolconnlimit = 0
