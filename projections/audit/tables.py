"""What the tables said at a position: rows folded from the events up to it, which is what the projections
held when they were that far. Only what was erased since is missing."""

from collections.abc import AsyncIterator
from typing import Any

from ledger.errors import TableNotFound
from ledger.store.event_store import MAX_POSITION
from ledger.store.tenant_database import Role
from projections.audit.answers import Answer
from projections.audit.near import did_you_mean
from projections.audit.points import Point
from projections.audit.runs import RunReader
from projections.audit.sql import SQL
from projections.core import CORE
from projections.rows import ROW_TYPES, Row, RunRow, columns, key_of
from projections.streams import folded_streams

ROWS_MAX = 10_000
RUNS_MAX = 1_000
_CANDIDATES = 100
_TABLES = {row_type.TABLE: row_type for row_type in ROW_TYPES}


class TableAsOf(Answer):
    """Rows of `table` in order of their keys, as of `position`. `more` says that there are others."""

    tenant_id: str
    table: str
    position: int
    columns: list[str]
    rows: list[dict[str, Any]]
    more: bool


class RunsAsOf(Answer):
    """Runs as of `position`, the newest first. `next` goes on from here; None where nothing is left."""

    tenant_id: str
    position: int
    runs: list[RunRow]
    next: int | None


async def table_at(
    reader: RunReader, table: str, point: Point, *, run_id: str | None, limit: int
) -> TableAsOf:
    row_type = _row_type(table)
    position = await _position(reader, point, run_id)
    limit = max(1, min(limit, ROWS_MAX))
    found: list[Row] = []
    async for row in _rows(reader, row_type, position, run_id):
        found.append(row)
        if len(found) > limit:
            break
    named = list(columns(row_type))
    return TableAsOf(
        tenant_id=reader.tenant.tenant_id,
        table=table,
        position=position,
        columns=named,
        rows=[{name: getattr(row, name) for name in named} for row in found[:limit]],
        more=len(found) > limit,
    )


async def runs_at(
    reader: RunReader, point: Point, *, status: str | None, limit: int, after: int | None
) -> RunsAsOf:
    """`after` is the `next` of the page before."""
    position = await _position(reader, point, None)
    limit = max(1, min(limit, RUNS_MAX))
    statement = SQL["runs_open" if status == "running" else "runs_begun"]
    before = MAX_POSITION if after is None else after
    found: list[RunRow] = []
    while True:
        rows = await reader.tenant.reader.fetch(
            statement, position, before, _CANDIDATES, doing="listing runs"
        )
        for row in rows:
            before = row["cursor"]
            history = await reader.history(row["stream_id"], Point(position=position))
            # Streams of other applications are no runs; and the fold has the last word on a status.
            run = history.state.run
            if run is not None and status in {None, run.status}:
                found.append(run)
            if len(found) == limit:
                return _runs(reader, position, found, before)
        if len(rows) < _CANDIDATES:
            return _runs(reader, position, found, None)


def _runs(reader: RunReader, position: int, runs: list[RunRow], after: int | None) -> RunsAsOf:
    return RunsAsOf(tenant_id=reader.tenant.tenant_id, position=position, runs=runs, next=after)


async def _rows(
    reader: RunReader, row_type: type[Row], position: int, run_id: str | None
) -> AsyncIterator[Row]:
    if run_id is not None:
        state = CORE.new_state(run_id)
        async for events in reader.pages(run_id, Point(position=position)):
            for event in events:
                CORE.fold(state, event)
        for row in _of_table(row_type, state.take_touched()):
            yield row
        return
    connection = await reader.tenant.database.connect(Role.READER)
    try:
        async for state in folded_streams(connection, CORE, reader.tenant.tenant_id, position):
            for row in _of_table(row_type, state.take_touched()):
                yield row
    finally:
        await connection.close()


def _of_table(row_type: type[Row], rows: list[Row]) -> list[Row]:
    return sorted((row for row in rows if type(row) is row_type), key=key_of)


async def _position(reader: RunReader, point: Point, run_id: str | None) -> int:
    position = await reader.position_of(point, run_id)
    return await reader.tenant.store.head() if position is None else position


def _row_type(table: str) -> type[Row]:
    if table in _TABLES:
        return _TABLES[table]
    raise TableNotFound(
        f"There is no table {table[:80]!r}",
        fix=did_you_mean(table, _TABLES, f"There are {', '.join(_TABLES)}"),
    )
