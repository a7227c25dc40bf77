"""Listings from the tables: the newest runs of a tenant, the newest version of a path."""

from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.rows import RunRow, columns, from_record
from projections.table_sql import qualified

LIMIT_MAX = 1_000
_SQL = load_statements("projections", "queries.sql")
_COLUMNS = ", ".join(columns(RunRow))


async def list_runs(tenant: Tenant, *, status: str | None = None, limit: int = 20) -> list[RunRow]:
    """The last recorded first; only those with `status` where it is given."""
    rows = await tenant.reader.fetch(
        f"SELECT {_COLUMNS} FROM {qualified(RunRow)} WHERE $1::text IS NULL OR status = $1 "
        "ORDER BY first_position DESC LIMIT $2",
        status,
        min(limit, LIMIT_MAX),
        doing="listing runs",
    )
    return [from_record(RunRow, row) for row in rows]


async def newest_digest(tenant: Tenant, path: str) -> str | None:
    """The digest of the last version that was recorded at an artifact path."""
    statement = _SQL["newest_digest"]
    digest: str | None = await tenant.reader.fetchval(statement, path, doing="finding an artifact")
    return digest
