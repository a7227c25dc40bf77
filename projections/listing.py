"""Listings from the tables: the newest runs of a tenant."""

from ledger.tenant import Tenant
from projections.rows import RunRow, columns, from_record
from projections.table_sql import qualified

LIMIT_MAX = 1_000
_COLUMNS = ", ".join(columns(RunRow))


async def list_runs(tenant: Tenant, *, status: str | None = None, limit: int = 20) -> list[RunRow]:
    """Newest start first; only those with `status` where it is given."""
    rows = await tenant.reader.fetch(
        f"SELECT {_COLUMNS} FROM {qualified(RunRow)} WHERE $1::text IS NULL OR status = $1 "  # noqa: S608
        "ORDER BY started_at DESC NULLS LAST, run_id LIMIT $2",
        status,
        min(limit, LIMIT_MAX),
        doing="listing runs",
    )
    return [from_record(RunRow, row) for row in rows]
