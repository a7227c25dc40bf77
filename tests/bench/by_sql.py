"""The limit of a rebuild: the same tables filled by SQL (by_sql.sql), two connections with half of the
streams each, and indexed in the same way. Nothing of it takes the live ones' place."""

import asyncio
from typing import Any

from ledger import Tenant
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from projections.core import CORE
from projections.rebuilding.new_tables import NewTable, build_indexes, drop_tables, make_tables
from projections.rows import Json, Row, columns, kinds_of
from projections.table_sql import SCHEMA, qualified
from projections.workers.ranges import ranges_of

SQL = load_statements("tests.bench", "by_sql.sql")
LAST = "\U0010ffff"
_SETTINGS = {
    "synchronous_commit": "off",
    "jit": "off",
    "work_mem": "256MB",
    "maintenance_work_mem": "128MB",
    "max_parallel_workers_per_gather": "0",
    "enable_nestloop": "off",
}


async def fill_by_sql(tenant: Tenant, *, drop: bool = True) -> list[NewTable]:
    maker = await tenant.database.connect(Role.PROJECTOR, **_SETTINGS)
    # In the configured user's own right: the projector may make no temporary tables.
    halves = [await tenant.database.server.connect(tenant.database.name, **_SETTINGS) for _ in range(2)]
    try:
        tables = await make_tables(maker, CORE, CORE.tables)
        names = {table.row_type.TABLE: f'{SCHEMA}."{table.name}"' for table in tables}
        parts = await ranges_of(maker, 200_000, 5_000)
        middle = parts[len(parts) // 2].after or ""
        bounds = [("", middle), (middle, LAST)]
        await asyncio.gather(
            *(_fill(half, names, *bound) for half, bound in zip(halves, bounds, strict=True))
        )
        await build_indexes([maker, await _projector(tenant, halves)], tables)
        if drop:
            await drop_tables(maker, tables)
        return tables
    finally:
        for connection in (maker, *halves):
            await connection.close()


async def _projector(tenant: Tenant, halves: list[Any]) -> Any:
    connection = await tenant.database.connect(Role.PROJECTOR, **_SETTINGS)
    halves.append(connection)
    return connection


async def _fill(connection: Any, names: dict[str, str], after: str, upto: str) -> None:
    async with connection.transaction():
        await connection.execute(SQL["decode"], after, upto)
        await connection.execute("ANALYZE decoded")
        await connection.execute(SQL["fill"].format(**names))


async def differences(tenant: Tenant) -> dict[str, int]:
    """How many rows of each table are not the same in SQL's and in the live one, JSON compared by value.
    The act of having been rebuilt is ours alone."""
    tables = await fill_by_sql(tenant, drop=False)
    connection = await tenant.database.connect(Role.PROJECTOR)
    try:
        found = {table.row_type.TABLE: await _different(connection, table) for table in tables}
        await drop_tables(connection, tables)
    finally:
        await connection.close()
    return {table: count for table, count in found.items() if count}


async def _different(connection: Any, table: NewTable) -> int:
    names = ", ".join(_compared(table.row_type))
    ours = f"SELECT {names} FROM {qualified(table.row_type)} WHERE run_id <> '$tenant'"
    theirs = f'SELECT {names} FROM {SCHEMA}."{table.name}"'
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM (({ours} EXCEPT ALL {theirs}) UNION ALL ({theirs} EXCEPT ALL {ours})) AS d"
    )
    return count


def _compared(row_type: type[Row]) -> list[str]:
    return [
        f'"{name}"::jsonb' if Json in kinds_of(annotation) else f'"{name}"'
        for name, annotation in columns(row_type).items()
    ]
