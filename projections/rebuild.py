"""Rebuild: folds every event afresh and replaces all tables, in one transaction.

Readers see the old rows until it commits, and the old rows stay if it does not.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ledger.contract.events import Event, EventType
from ledger.contract.names import TENANT_STREAM
from ledger.errors import RebuildRunning
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from projections.core import CORE
from projections.definition import Projection
from projections.digests import TableDigest
from projections.rows import Row, columns, to_record
from projections.streams import folded_streams
from projections.table_making import remake_tables
from projections.table_sql import SCHEMA, delete_all

COPY_ROWS = 5_000

_SQL = load_statements("projections", "queries.sql")
Progress = Callable[[int, int], None]
"""Called with events folded and events in all."""


@dataclass(frozen=True)
class RebuildReport:
    """`digests` maps each table to the digest of its rows (projections/digests.py) as of `position`."""

    tenant_id: str
    projection: str
    position: int
    events: int
    seconds: float
    rows: dict[str, int]
    digests: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def rebuild(
    tenant: Tenant, *, projection: Projection[Any] = CORE, progress: Progress | None = None
) -> RebuildReport:
    """Empties the projection's tables and fills them from the events up to the head; appends
    `projection.rebuilt` with the digests. Appends go on meanwhile; projectors wait.

    Raises RebuildRunning where another one is under way, StoreUnavailable.
    """
    started = time.monotonic()
    connection = await tenant.database.connect(Role.PROJECTOR)
    try:
        async with connection.transaction():
            position, events, digests = await _refill(connection, projection, tenant.tenant_id, progress)
    except POSTGRES_ERRORS as error:
        raise store_error(error, "rebuilding", tenant.database.server.name) from error
    finally:
        await connection.close()
    report = RebuildReport(
        tenant_id=tenant.tenant_id,
        projection=projection.name,
        position=position,
        events=events,
        seconds=round(time.monotonic() - started, 3),
        rows={table: digest.rows for table, digest in digests.items()},
        digests={table: digest.hexdigest() for table, digest in digests.items()},
    )
    await tenant.emitter.emit(_fact(report))
    return report


async def _refill(
    connection: Connection, projection: Projection[Any], tenant_id: str, progress: Progress | None
) -> tuple[int, int, dict[str, TableDigest]]:
    if not await connection.fetchval(_SQL["try_rebuild_lock"]):
        raise RebuildRunning(
            f"A rebuild of tenant {tenant_id!r} is under way", fix="Wait for it; nothing was changed"
        )
    await connection.fetchval(_SQL["lock_checkpoint"], projection.name)
    position = await connection.fetchval(_SQL["head"])
    total = await connection.fetchval(_SQL["count_events"], position)
    await remake_tables(connection, projection)
    for row_type in projection.tables:
        await connection.execute(delete_all(row_type))
    filling = _Filling(connection, projection)
    events = 0
    async for state, count in folded_streams(connection, projection, tenant_id, position):
        await filling.add(state.take_touched())
        events += count
        if progress is not None:
            progress(events, total)
    await filling.flush()
    await connection.execute(_SQL["set_checkpoint"], projection.name, position, projection.version)
    return position, events, {table.TABLE: digest for table, digest in filling.digests.items()}


class _Filling:
    """Collects rows and copies them into their tables, some thousands at a time."""

    def __init__(self, connection: Connection, projection: Projection[Any]) -> None:
        tables = projection.tables
        self.digests: dict[type[Row], TableDigest] = {row_type: TableDigest() for row_type in tables}
        self._connection = connection
        self._records: dict[type[Row], list[tuple[Any, ...]]] = {row_type: [] for row_type in tables}
        self._waiting = 0

    async def add(self, rows: list[Row]) -> None:
        for row in rows:
            record = to_record(row)
            self._records[type(row)].append(record)
            self.digests[type(row)].add(record)
        self._waiting += len(rows)
        if self._waiting >= COPY_ROWS:
            await self.flush()

    async def flush(self) -> None:
        for row_type, records in self._records.items():
            if records:
                await self._connection.copy_records_to_table(
                    row_type.TABLE, schema_name=SCHEMA, records=records, columns=list(columns(row_type))
                )
                records.clear()
        self._waiting = 0


def _fact(report: RebuildReport) -> Event:
    return Event(
        event_type=EventType.PROJECTION_REBUILT,
        run_id=TENANT_STREAM,
        tenant_id=report.tenant_id,
        payload={
            "projection": report.projection,
            "position": report.position,
            "events": report.events,
            "seconds": report.seconds,
            "digests": report.digests,
        },
    )
