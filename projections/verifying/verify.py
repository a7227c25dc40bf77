"""The order of a verification."""

import time
from random import SystemRandom
from typing import Any

from ledger.errors import RunNotFound
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from projections.core import CORE
from projections.definition import Projection, row_types_of
from projections.digests import TableDigest
from projections.live_tables import streams_to_fold_again
from projections.table_making import require_tables
from projections.table_sql import qualified
from projections.verifying.comparing import Compare, Compared
from projections.verifying.report import Difference, Progress, TableReport, VerifyReport
from projections.workers import Range, perform, ranges_of, workers_for

EVENTS_OF_SAMPLE = 2_000
"""Of each part, where a sample of them is drawn."""

_SQL = load_statements("projections", "queries.sql")


async def verify(
    tenant: Tenant,
    *,
    projection: Projection[Any] = CORE,
    table: str | None = None,
    run_id: str | None = None,
    sample: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compares the live tables with a fresh fold at the checkpoint: all of them or one, of all runs or one,
    or of about the share `sample` (more than 0, at most 1) of the log, drawn by chance. `workers` is the
    number of processes (0: this one; default: as many as there are processors, where there is much to fold).

    Raises StoreUnavailable, WorkerLost, ProjectionStopped at an event that cannot be folded,
    ProjectionTablesDiffer where there are no such tables, and RunNotFound for a run that has neither events
    nor rows.
    """
    if sample is not None and not 0 < sample <= 1:
        raise ValueError(f"a sample is more than 0 and at most 1, not {sample}")
    started = time.monotonic()
    compared = Compared()
    row_types = row_types_of(projection, table)
    connection = await tenant.database.connect(Role.READER)
    try:
        await require_tables(connection, projection)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Before the snapshot is taken: from then on no rebuild can put other tables in their place.
            tables = ", ".join(map(qualified, row_types))
            await connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
            position, skipped = await _stand(connection, tenant.tenant_id, projection, compared)
            parts, sampled = await _parts(connection, position, run_id, sample)
            snapshot = await connection.fetchval(_SQL["export_snapshot"])
            job = Compare(tenant.database, projection, row_types, position, snapshot, frozenset(skipped))
            events = 0
            total = round(position * sampled)

            def tell(more: int) -> None:
                nonlocal events
                events += more
                if progress is not None:
                    progress("comparing", events, max(total, events))

            tell(0)
            processes = 0 if run_id is not None else workers_for(total, workers)
            for result in await perform(job, parts, processes, tell):
                compared.merge(result)
            if run_id is not None:
                await _require_run(connection, tenant.tenant_id, run_id, compared)
    except POSTGRES_ERRORS as error:
        raise store_error(error, "verifying", tenant.database.server.name) from error
    finally:
        await connection.close()
    return VerifyReport(
        tenant_id=tenant.tenant_id,
        projection=projection.name,
        position=position,
        events=compared.events,
        seconds=round(time.monotonic() - started, 3),
        tables={row_type.TABLE: _table_report(compared, row_type) for row_type in row_types},
        differences=compared.differences,
        difference_count=compared.difference_count,
        awaiting_erasure=sorted(skipped),
        sampled=sampled,
    )


async def _stand(
    connection: Connection, tenant_id: str, projection: Projection[Any], compared: Compared
) -> tuple[int, set[str]]:
    """The position to compare at, and the streams that cannot be compared there."""
    position = await connection.fetchval(_SQL["checkpoint"], projection.name)
    head: int = await connection.fetchval(_SQL["head"])
    if position is None:
        compared.note(Difference("checkpoints", (projection.name,), "missing"))
        position = head
    if position > head:
        compared.note(Difference("checkpoints", (projection.name,), "ahead_of_head"))
    pending = await connection.fetch(_SQL["erasures_between"], position, head)
    records = [recorded_event(tenant_id, row) for row in pending]
    return min(position, head), await streams_to_fold_again(connection, records)


async def _parts(
    connection: Connection, position: int, run_id: str | None, sample: float | None
) -> tuple[list[Range], float]:
    if run_id is not None:
        return [Range(only=run_id)], 1.0
    if sample is None:
        return await ranges_of(connection, position), 1.0
    parts = await ranges_of(connection, position, EVENTS_OF_SAMPLE)
    drawn = SystemRandom().sample(parts, max(1, round(len(parts) * sample)))
    return drawn, len(drawn) / len(parts)


async def _require_run(connection: Connection, tenant_id: str, run_id: str, compared: Compared) -> None:
    """Nothing is equal to nothing: whoever mistook a run's name would be told that all is well."""
    has_rows = any(digest.rows for digest in compared.live.values())
    if not has_rows and not await connection.fetchval(_SQL["stream_is_there"], run_id):
        raise RunNotFound(
            f"Tenant {tenant_id!r} has recorded no event of run {run_id!r}, and no row is of it",
            fix="Correct the run id",
        )


def _table_report(compared: Compared, row_type: Any) -> TableReport:
    live = compared.live.get(row_type, TableDigest())
    folded = compared.folded.get(row_type, TableDigest())
    return TableReport(live.rows, live.hexdigest(), folded.hexdigest())
