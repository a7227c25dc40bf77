"""Catching up: events recorded while the new tables were filled. Their streams are folded again, whole,
and the new rows take the old ones' place; so are the streams of events that were erased meanwhile."""

from collections.abc import Iterator, Sequence
from typing import Any

from ledger.store.event_store import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.copy_format import record_encoder_of
from projections.definition import Projection
from projections.projector import streams_to_fold_again
from projections.rebuilding.filling import Copying, Digests
from projections.rebuilding.new_tables import NewTable
from projections.rows import Row, columns
from projections.table_sql import SCHEMA, listed
from projections.workers.job import Folded
from projections.workers.reading import folded, pages_of_streams

STREAMS_AT_ONCE = 200

_SQL = load_statements("projections.rebuilding", "queries.sql")
_SHARED_SQL = load_statements("projections", "queries.sql")


async def catch_up(
    connection: Connection,
    projection: Projection[Any],
    tenant_id: str,
    tables: Sequence[NewTable],
    digests: Digests,
    between: tuple[int, int],
    tell: Folded,
) -> None:
    """Brings `tables` and `digests` from the first position to the second. `connection` is
    in a transaction."""
    streams = await _streams(connection, tenant_id, between)
    for some in _parts(streams):
        for table in tables:
            gone = await _delete(connection, table, some)
            digests[table.row_type].remove(gone)
        copying = Copying(connection, {table.row_type: table.name for table in tables})
        pages = pages_of_streams(connection, some, between[1])
        states = [state async for state in folded(pages, projection, tenant_id, tell)]
        for state in states:
            await copying.add(state)
        await copying.finish()
        for row_type, digest in copying.digests.items():
            digests[row_type].merge(digest)


async def _streams(connection: Connection, tenant_id: str, between: tuple[int, int]) -> list[str]:
    rows = await connection.fetch(_SQL["streams_between"], *between)
    records = await connection.fetch(_SHARED_SQL["erasures_between"], *between)
    erased = await streams_to_fold_again(connection, [recorded_event(tenant_id, row) for row in records])
    return sorted({row[0] for row in rows} | erased)


def _parts(streams: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(streams), STREAMS_AT_ONCE):
        yield streams[start : start + STREAMS_AT_ONCE]


async def _delete(connection: Connection, table: NewTable, streams: Sequence[str]) -> list[bytes]:
    row_type: type[Row] = table.row_type
    rows = await connection.fetch(
        f'DELETE FROM {SCHEMA}."{table.name}" WHERE run_id = ANY($1) RETURNING {listed(columns(row_type))}',
        streams,
    )
    encode = record_encoder_of(row_type)
    return [encode(row) for row in rows]
