"""Streams, folded afresh on a connection that somebody else holds."""

from collections.abc import AsyncIterator

from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import F, StreamFold
from projections.workers import EVERYTHING
from projections.workers.reading import folded, pages_of_range

_STORE_SQL = load_statements("ledger.store", "queries.sql")
READ_EVENTS = 2_000


async def folded_streams(
    connection: Connection, streams: StreamFold[F], tenant_id: str, upto: int
) -> AsyncIterator[F]:
    """Each stream's state folded from its events up to position `upto`, in order of stream id. One stream
    is in memory at a time."""
    async with connection.transaction(readonly=True):
        # In order of the index, so that the first streams come at once.
        await connection.execute("SET LOCAL enable_sort = off")
        pages = pages_of_range(connection, EVERYTHING, upto)
        async for state in folded(pages, streams, tenant_id, lambda _: None):
            yield state


async def folded_stream(
    connection: Connection, streams: StreamFold[F], tenant_id: str, run_id: str, upto: int
) -> F:
    """One stream's state, folded afresh from its events up to position `upto`."""
    state = streams.new_state(run_id)
    version = -1
    while True:
        rows = await connection.fetch(_STORE_SQL["read_stream"], run_id, version, upto, READ_EVENTS)
        for row in rows:
            streams.fold(state, recorded_event(tenant_id, row))
        if len(rows) < READ_EVENTS:
            return state
        version = rows[-1]["version"]
