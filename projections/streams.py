"""Streams: whole runs read one after the other, folded; what rebuild and verification share."""

from collections.abc import AsyncIterator
from typing import Any

from ledger.contract.events import RecordedEvent
from ledger.store.event_store import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection, S

_STORE_SQL = load_statements("ledger.store", "queries.sql")
READ_EVENTS = 2_000


async def folded_streams(
    connection: Connection, projection: Projection[S], tenant_id: str, upto: int
) -> AsyncIterator[tuple[S, int]]:
    """Each stream's state folded from its events up to position `upto`, with the number of those
    events, in order of stream id. One stream is in memory at a time."""
    state: S | None = None
    count = 0
    async for event in _events_by_stream(connection, tenant_id, upto):
        if state is None or state.run_id != event.run_id:
            if state is not None:
                yield state, count
            state, count = projection.new_state(event.run_id), 0
        projection.fold(state, event)
        count += 1
    if state is not None:
        yield state, count


async def folded_stream(
    connection: Connection, projection: Projection[S], tenant_id: str, run_id: str, upto: int
) -> S:
    """One stream's state, folded afresh from its events up to position `upto`."""
    state = projection.new_state(run_id)
    version = -1
    while True:
        rows: list[Any] = await connection.fetch(
            _STORE_SQL["read_stream"], run_id, version, upto, READ_EVENTS
        )
        for row in rows:
            projection.fold(state, recorded_event(tenant_id, row))
        if len(rows) < READ_EVENTS:
            return state
        version = rows[-1]["version"]


async def _events_by_stream(
    connection: Connection, tenant_id: str, upto: int
) -> AsyncIterator[RecordedEvent]:
    stream_id, version = "", -1
    while True:
        rows: list[Any] = await connection.fetch(
            _STORE_SQL["read_by_stream"], stream_id, version, upto, READ_EVENTS
        )
        for row in rows:
            yield recorded_event(tenant_id, row)
        if len(rows) < READ_EVENTS:
            return
        stream_id, version = rows[-1]["stream_id"], rows[-1]["version"]
