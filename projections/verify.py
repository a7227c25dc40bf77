"""Verify: folds the events afresh and compares with the live tables, row by row and by digest, at
the checkpoint, all in one snapshot. It changes nothing."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ledger.store.event_store import recorded_event
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from projections.core import CORE
from projections.definition import Projection, State
from projections.digests import TableDigest
from projections.projector import streams_to_fold_again
from projections.rows import Row, columns, to_record
from projections.streams import folded_streams
from projections.table_making import require_tables
from projections.table_sql import select_by_run, select_runs_after

RUNS_AT_ONCE = 200
DIFFERENCES_MAX = 100

_SQL = load_statements("projections", "queries.sql")
Progress = Callable[[int, int], None]
Records = dict[tuple[Any, ...], tuple[Any, ...]]  # by key


@dataclass(frozen=True)
class Difference:
    """`kind`: a row that is missing from the table, surplus in it, or differs in `columns`; or a
    checkpoint that lies ahead of the head. Where the checkpoint is missing, it compares at the head."""

    table: str
    key: tuple[Any, ...]
    kind: Literal["missing", "surplus", "differs", "ahead_of_head"]
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" in {', '.join(self.columns)}" if self.columns else ""
        return f"{self.table} {'/'.join(map(str, self.key))}: {self.kind.replace('_', ' ')}{named}"


@dataclass(frozen=True)
class TableReport:
    rows: int
    live_digest: str
    folded_digest: str

    @property
    def equal(self) -> bool:
        return self.live_digest == self.folded_digest


@dataclass(frozen=True)
class VerifyReport:
    """`differences` lists the first 100; `difference_count` counts them all. `awaiting_erasure` names
    the runs that could not be compared: a payload of theirs is erased and the tables, being behind, hold
    what was folded from it. They are folded again when the projector comes to the erasure's record."""

    tenant_id: str
    projection: str
    position: int
    events: int
    seconds: float
    tables: dict[str, TableReport]
    differences: list[Difference]
    difference_count: int
    awaiting_erasure: list[str]

    @property
    def ok(self) -> bool:
        return self.difference_count == 0 and all(table.equal for table in self.tables.values())

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


async def verify(
    tenant: Tenant, *, projection: Projection[Any] = CORE, progress: Progress | None = None
) -> VerifyReport:
    """Compares the live tables with a fresh fold at the checkpoint. Raises StoreUnavailable, and
    ProjectionTablesDiffer where there are no such tables."""
    started = time.monotonic()
    connection = await tenant.database.connect(Role.READER)
    comparison = _Comparison(projection)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            position, events = await _compare_all(connection, tenant.tenant_id, comparison, progress)
    except POSTGRES_ERRORS as error:
        raise store_error(error, "verifying", tenant.database.server.name) from error
    finally:
        await connection.close()
    return VerifyReport(
        tenant_id=tenant.tenant_id,
        projection=projection.name,
        position=position,
        events=events,
        seconds=round(time.monotonic() - started, 3),
        tables=comparison.tables(),
        differences=comparison.differences,
        difference_count=comparison.difference_count,
        awaiting_erasure=sorted(comparison.skipped),
    )


async def _compare_all(
    connection: Connection, tenant_id: str, comparison: "_Comparison", progress: Progress | None
) -> tuple[int, int]:
    projection = comparison.projection
    await require_tables(connection, projection)
    position = await connection.fetchval(_SQL["checkpoint"], projection.name)
    head = await connection.fetchval(_SQL["head"])
    if position is None:
        comparison.note(Difference("checkpoints", (projection.name,), "missing"))
        position = head
    if position > head:
        comparison.note(Difference("checkpoints", (projection.name,), "ahead_of_head"))
    pending = await connection.fetch(_SQL["erasures_between"], position, head)
    records = [recorded_event(tenant_id, row) for row in pending]
    comparison.skipped = await streams_to_fold_again(connection, records)
    total = await connection.fetchval(_SQL["count_events"], position)
    events = 0
    seen_upto = ""
    async for states, count in _in_batches(
        folded_streams(connection, projection, tenant_id, position)
    ):
        last = states[-1].run_id
        # Streams that have rows and no events lie between those that have events.
        surplus = await _runs_with_rows(connection, projection, seen_upto, last)
        await comparison.compare(connection, states, surplus)
        seen_upto = last
        events += count
        if progress is not None:
            progress(events, total)
    while surplus := await _runs_with_rows(connection, projection, seen_upto, None):
        await comparison.compare(connection, [], surplus)
        seen_upto = max(surplus)
    return position, events


async def _in_batches(
    streams: AsyncIterator[tuple[State, int]],
) -> AsyncIterator[tuple[list[State], int]]:
    states: list[State] = []
    events = 0
    async for state, count in streams:
        states.append(state)
        events += count
        if len(states) == RUNS_AT_ONCE:
            yield states, events
            states, events = [], 0
    if states:
        yield states, events


async def _runs_with_rows(
    connection: Connection, projection: Projection[Any], after: str, upto: str | None
) -> set[str]:
    """Streams after `after` that have rows in any table: up to `upto`, or the next few hundred."""
    found: set[str] = set()
    for row_type in projection.tables:
        position = after
        while True:
            rows = await connection.fetch(select_runs_after(row_type), position, RUNS_AT_ONCE)
            run_ids = [row["run_id"] for row in rows if upto is None or row["run_id"] <= upto]
            found.update(run_ids)
            if upto is None or len(run_ids) < RUNS_AT_ONCE:
                break
            position = run_ids[-1]
    return set(sorted(found)[:RUNS_AT_ONCE]) if upto is None else found


@dataclass
class _Comparison:
    projection: Projection[Any]
    live: dict[type[Row], TableDigest] = field(init=False)
    folded: dict[type[Row], TableDigest] = field(init=False)
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0
    skipped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.live = {row_type: TableDigest() for row_type in self.projection.tables}
        self.folded = {row_type: TableDigest() for row_type in self.projection.tables}

    async def compare(
        self, connection: Connection, states: Sequence[State], also: Iterable[str]
    ) -> None:
        expected: dict[type[Row], Records] = {row_type: {} for row_type in self.projection.tables}
        for state in states:
            if state.run_id in self.skipped:
                continue
            for row in state.take_touched():
                self._take(expected, self.folded, type(row), to_record(row))
        run_ids = sorted(({state.run_id for state in states} | set(also)) - self.skipped)
        for row_type in self.projection.tables:
            found: dict[type[Row], Records] = {row_type: {}}
            for record in await connection.fetch(select_by_run(row_type), run_ids):
                self._take(found, self.live, row_type, tuple(record))
            self._differ(row_type, expected[row_type], found[row_type])

    @staticmethod
    def _take(
        into: dict[type[Row], Records],
        digests: dict[type[Row], TableDigest],
        row_type: type[Row],
        record: tuple[Any, ...],
    ) -> None:
        names = list(columns(row_type))
        into[row_type][tuple(record[names.index(name)] for name in row_type.KEY)] = record
        digests[row_type].add(record)

    def _differ(self, row_type: type[Row], expected: Records, found: Records) -> None:
        for key in expected.keys() - found.keys():
            self.note(Difference(row_type.TABLE, key, "missing"))
        for key in found.keys() - expected.keys():
            self.note(Difference(row_type.TABLE, key, "surplus"))
        for key in expected.keys() & found.keys():
            if expected[key] != found[key]:
                pairs = zip(columns(row_type), expected[key], found[key], strict=True)
                named = tuple(name for name, one, other in pairs if one != other)
                self.note(Difference(row_type.TABLE, key, "differs", named))

    def note(self, difference: Difference) -> None:
        self.difference_count += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def tables(self) -> dict[str, TableReport]:
        return {
            row_type.TABLE: TableReport(
                self.live[row_type].rows, self.live[row_type].hexdigest(), self.folded[row_type].hexdigest()
            )
            for row_type in self.projection.tables
        }
