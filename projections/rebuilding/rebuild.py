"""The order of a rebuild."""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ledger.control.audit import ACTOR_CHARS_MAX, REASON_CHARS_MAX, checked_text, this_actor
from ledger.errors import RebuildRunning, StoreError
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from projections.core import CORE
from projections.definition import Projection, row_types_of
from projections.digests import TableDigest
from projections.rebuilding.checkpoint import sound_checkpoint
from projections.rebuilding.filling import Digests, Fill
from projections.rebuilding.new_tables import (
    NewTable,
    build_indexes,
    drop_leftovers,
    drop_tables,
    make_tables,
)
from projections.rebuilding.one_run import repair_run
from projections.rebuilding.report import Progress, RebuildReport, fact, rows_and_digests
from projections.rebuilding.swapping import Swap
from projections.rebuilding.vacuums import ending_vacuums
from projections.rows import Row
from projections.workers import perform, spans_of, workers_for
from projections.workers.giving_way import Appends, rest

_SQL = load_statements("projections.rebuilding", "queries.sql")
_SHARED_SQL = load_statements("projections", "queries.sql")
_SETTINGS = {
    "synchronous_commit": "off",
    "maintenance_work_mem": "128MB",
    "max_parallel_maintenance_workers": "0",  # two connections build indexes already, or one that gives way
    "jit": "off",
}


async def rebuild(
    tenant: Tenant,
    *,
    projection: Projection[Any] = CORE,
    table: str | None = None,
    run_id: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    by: str | None = None,
    reason: str | None = None,
) -> RebuildReport:
    """Folds every event afresh and replaces the projection's tables, while they are read and projected
    into; appends `projection.rebuilt` with their digests. `table` is the only one to be replaced; `run_id`
    the only run whose rows are. `workers` is the number of processes (0: this one; default: as many as
    there are processors, where there is much to fold). `by` (default: the account at this machine) and
    `reason` are recorded: who rebuilt, and why.

    Raises TenantSuspended (nothing can be recorded then), RebuildRunning where another one is under way,
    RebuildBlocked, ProjectionStopped at an event that cannot be folded, WorkerLost, StoreUnavailable;
    RunNotFound, ProjectionNotFound for a table it has not, InvalidName for a `by` or `reason` that cannot be
    recorded. After any of them the tables are as they were; where only the record failed, as the error says
    then, they are new.
    """
    if table is not None and run_id is not None:
        raise ValueError("table or run_id, not both")
    actor = checked_text("by", this_actor() if by is None else by, ACTOR_CHARS_MAX)
    if reason is not None:
        checked_text("reason", reason, REASON_CHARS_MAX)
    work = _Rebuild(tenant, projection, row_types_of(projection, table), workers, progress)
    try:
        async with tenant.database.lease(Role.WRITER):
            pass  # a suspended tenant records nothing, so neither that it was rebuilt: it is not
        async with _only_one(tenant, projection) as holder:
            report = await (work.replace(holder) if run_id is None else work.repair(holder, run_id))
    except POSTGRES_ERRORS as error:
        raise store_error(error, "rebuilding", tenant.database.server.name) from error
    await tenant.emitter.emit(fact(report, actor, reason))
    return report


@asynccontextmanager
async def _only_one(tenant: Tenant, projection: Projection[Any]) -> AsyncIterator[Connection]:
    connection = await tenant.database.connect(Role.PROJECTOR, **_SETTINGS)
    try:
        if not await connection.fetchval(_SQL["try_lock"], projection.name):
            raise RebuildRunning(
                f"A rebuild of projection {projection.name!r} of tenant {tenant.tenant_id!r} is under way",
                fix="Wait for it; nothing was changed",
            )
        await drop_leftovers(connection, projection)
        yield connection
    finally:
        await connection.close()


class _Rebuild:
    def __init__(
        self,
        tenant: Tenant,
        projection: Projection[Any],
        row_types: Sequence[type[Row]],
        workers: int | None,
        progress: Progress | None,
    ) -> None:
        self._tenant = tenant
        self._projection = projection
        self._row_types = row_types
        self._is_whole = len(row_types) == len(projection.tables)
        self._workers = workers
        self._progress = progress
        self._started = time.monotonic()
        self._phase = ("", 0, 0)
        self._appends = Appends()

    async def repair(self, connection: Connection, run_id: str) -> RebuildReport:
        self._enter("folding", 0)
        tenant = self._tenant
        position, digests = await repair_run(
            connection, self._projection, tenant.tenant_id, run_id, self._folded
        )
        return self._report(position, self._phase[1], digests, run_id=run_id)

    async def replace(self, holder: Connection) -> RebuildReport:
        worker = await self._tenant.database.connect(Role.PROJECTOR, **_SETTINGS)
        tables: list[NewTable] = []
        try:
            await self._refuse_views(worker)
            position, total = await self._begin(worker)
            tables += await make_tables(worker, self._projection, self._row_types)
            workers = workers_for(total, self._workers)
            async with ending_vacuums(self._tenant.database, tables):
                digests = await self._fill(worker, tables, position, total, workers)
                self._enter("building indexes", 0)
                await self._index(worker, holder, tables)
                swap = self._swap(holder, worker, tables, digests, position)
                self._enter("catching up", 0)
                await swap.come_near()
                self._enter("swapping", 0)
                await swap.perform()
        finally:
            with contextlib.suppress(*POSTGRES_ERRORS):  # what is left, the next rebuild drops
                await drop_tables(worker, tables)
            await worker.close()
        return self._report(swap.position, swap.position, digests, swap_ms=swap.held_ms, workers=workers)

    def _swap(
        self,
        holder: Connection,
        worker: Connection,
        tables: Sequence[NewTable],
        digests: Digests,
        position: int,
    ) -> Swap:
        return Swap(
            holder,
            worker,
            self._projection,
            self._tenant.tenant_id,
            tables,
            digests,
            position,
            self._is_whole,
            self._folded,
        )

    async def _begin(self, connection: Connection) -> tuple[int, int]:
        """The position up to which to fold at first, and the number of events up to there."""
        await self._appends.look(connection)
        head: int = await connection.fetchval(_SHARED_SQL["head"])
        if self._is_whole:
            return head, head
        position = await sound_checkpoint(connection, self._projection)
        return position, position

    async def _refuse_views(self, connection: Connection) -> None:
        tables = [row_type.TABLE for row_type in self._row_types]
        if views := await connection.fetch(_SQL["views"], tables):
            named = ", ".join(row[0] for row in views)
            raise StoreError(
                f"Views read the tables to be replaced: {named}",
                fix="Drop them and make them again after the rebuild; nothing was changed",
            )

    async def _fill(
        self, connection: Connection, tables: Sequence[NewTable], position: int, total: int, workers: int
    ) -> Digests:
        self._enter("folding", total)
        names = {table.row_type: table.name for table in tables}
        digests: Digests = {row_type: TableDigest() for row_type in names}
        are_many = await self._appends.look(connection)
        job = Fill(self._tenant.database, self._projection, position, names, are_many)

        async def one_is_enough() -> bool:
            return await self._appends.look(connection)

        for result in await perform(job, spans_of(position), workers, self._folded, one_is_enough):
            for row_type, digest in result.items():
                digests[row_type].merge(digest)
        return digests

    async def _index(self, worker: Connection, holder: Connection, tables: Sequence[NewTable]) -> None:
        async def give_way(worked_seconds: float) -> None:
            if await self._appends.look(worker):
                await rest(worked_seconds)

        if await self._appends.look(worker):
            await build_indexes([worker], tables, give_way)
        else:
            await build_indexes([worker, holder], tables)

    def _enter(self, phase: str, total: int) -> None:
        self._phase = (phase, 0, total)
        self._folded(0)

    def _folded(self, events: int) -> None:
        phase, done, total = self._phase
        self._phase = (phase, done + events, total)
        if self._progress is not None:
            self._progress(phase, done + events, total)

    def _report(
        self,
        position: int,
        events: int,
        digests: Digests,
        *,
        swap_ms: float = 0.0,
        workers: int = 0,
        run_id: str | None = None,
    ) -> RebuildReport:
        return RebuildReport(
            tenant_id=self._tenant.tenant_id,
            projection=self._projection.name,
            position=position,
            events=events,
            seconds=round(time.monotonic() - self._started, 3),
            swap_ms=round(swap_ms, 1),
            workers=workers,
            run_id=run_id,
            **rows_and_digests(digests),
        )
