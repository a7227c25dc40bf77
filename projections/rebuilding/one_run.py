"""One run: its rows made anew at the checkpoint, in one transaction; projectors wait for it, nobody else."""

from typing import Any

from ledger.errors import RunNotFound
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection
from projections.rebuilding.checkpoint import sound_checkpoint
from projections.rebuilding.filling import Copying, Digests
from projections.table_sql import delete_by_run
from projections.workers.job import Folded
from projections.workers.reading import folded, pages_of_streams

_SQL = load_statements("projections", "queries.sql")


async def repair_run(
    connection: Connection, projection: Projection[Any], tenant_id: str, run_id: str, tell: Folded
) -> tuple[int, Digests]:
    """Returns the checkpoint and the digests of the run's rows. Raises RunNotFound, ProjectionStopped."""
    async with connection.transaction():
        await connection.fetch(_SQL["lock_checkpoint"], projection.name)
        position = await sound_checkpoint(connection, projection)
        copying = Copying(connection, {row_type: row_type.TABLE for row_type in projection.tables})
        for row_type in projection.tables:
            await connection.execute(delete_by_run(row_type), [run_id])
        pages = pages_of_streams(connection, [run_id], position)
        states = [state async for state in folded(pages, projection, tenant_id, tell)]
        if not states and not await connection.fetchval(_SQL["stream_is_there"], run_id):
            raise RunNotFound(
                f"Tenant {tenant_id!r} has recorded no event of run {run_id!r}",
                fix="Correct the run id; rows that belong to no run go when the whole table is rebuilt",
            )
        for state in states:
            await copying.add(state)
        await copying.finish()
        await connection.execute(_SQL["set_checkpoint"], projection.name, position, projection.version)
    return position, copying.digests
