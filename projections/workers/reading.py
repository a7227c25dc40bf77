"""Reading: the streams of a part of the log, folded, one after the other.

The next page is under way while this one is folded, unless others are given way (giving_way.py). A stream's
state is in memory until its last event; of the events themselves, two pages are.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ledger.contract.events import RecordedEvent
from ledger.errors import DaichoError, ProjectionStopped
from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase
from projections.definition import F, Projection, S, StreamFold
from projections.workers.job import Folded
from projections.workers.ranges import Range, Span

PAGE_EVENTS = 1_000

Pause = Callable[[float], Awaitable[None]]
"""Called between two pages, where one is read after the other, with the seconds that the last one took."""

_SQL = load_statements("projections.workers", "queries.sql")
READ_STREAMS = _SQL["read"].replace("true", "stream_id = ANY($1::text[]) AND position <= $2")
_SETTINGS = {
    "jit": "off",  # compiling takes longer than any of these queries
    "max_parallel_workers_per_gather": "0",  # the workers are parallel already
    "enable_seqscan": "off",  # every part by an index, or n parts read the log n times
    "work_mem": "64MB",
}


_BY_STREAM = {
    # Streams named one by one come in order of the index; what is gathered from the table page by page has to
    # be sorted, payloads and all, which takes as long as everything else about reading it.
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}


@asynccontextmanager
async def reading(
    database: TenantDatabase, role: Role, *, by_stream: bool = False
) -> AsyncIterator[Connection]:
    """A connection that reads parts of the log: ranges, or else streams `by_stream`."""
    settings = {**_SETTINGS, **(_BY_STREAM if by_stream else {})}
    connection = await database.connect(role, **settings)
    try:
        yield connection
    finally:
        connection.terminate()  # nothing of it is to be waited for


async def folded(
    pages: AsyncIterator[Sequence[Any]], streams: StreamFold[F], tenant_id: str, tell: Folded
) -> AsyncIterator[F]:
    """The state of each stream, folded from its events on `pages`, which hold whole streams one after the
    other. Raises ProjectionStopped at an event that cannot be folded."""
    state: F | None = None
    fold = streams.fold
    async for rows in pages:
        for row in rows:
            event = recorded_event(tenant_id, row)
            if state is None or state.run_id != event.run_id:
                if state is not None:
                    yield state
                state = streams.new_state(event.run_id)
            try:
                fold(state, event)
            except Exception as error:  # whatever a fold does with an event that it does not expect
                raise _cannot_fold(event, error) from error
        tell(len(rows))
    if state is not None:
        yield state


def pages_of_range(connection: Connection, part: Range, upto: int) -> AsyncIterator[Sequence[Any]]:
    """The events of the range's streams up to position `upto`. `connection` is in a transaction."""
    condition, arguments = part.condition("stream_id")
    where = f"{condition} AND position <= ${len(arguments) + 1}"
    return _pages(connection, _SQL["read"].replace("true", where), *arguments, upto)


async def streams_of_span(connection: Connection, part: Span) -> list[str]:
    return [row[0] for row in await connection.fetch(_SQL["begun"], part.after, part.upto)]


def pages_of_streams(
    connection: Connection, stream_ids: Sequence[str], upto: int, pause: Pause | None = None
) -> AsyncIterator[Sequence[Any]]:
    """The events of these streams up to position `upto`. `connection` is in a transaction."""
    if pause is not None:
        return _pages_in_turn(connection, pause, READ_STREAMS, stream_ids, upto)
    return _pages(connection, READ_STREAMS, stream_ids, upto)


async def _pages(connection: Connection, statement: str, *arguments: Any) -> AsyncIterator[Sequence[Any]]:
    cursor = await connection.cursor(statement, *arguments)
    coming = asyncio.ensure_future(cursor.fetch(PAGE_EVENTS))
    try:
        while rows := await coming:
            coming = asyncio.ensure_future(cursor.fetch(PAGE_EVENTS))
            yield rows
    finally:
        coming.cancel()


async def _pages_in_turn(
    connection: Connection, pause: Pause, statement: str, *arguments: Any
) -> AsyncIterator[Sequence[Any]]:
    cursor = await connection.cursor(statement, *arguments)
    begun = time.monotonic()
    while rows := await cursor.fetch(PAGE_EVENTS):
        yield rows
        await pause(time.monotonic() - begun)
        begun = time.monotonic()


def fold_one(projection: Projection[S], state: S, event: RecordedEvent) -> None:
    """Raises ProjectionStopped where the event cannot be folded."""
    try:
        projection.fold(state, event)
    except Exception as error:
        raise _cannot_fold(event, error) from error


def _cannot_fold(event: RecordedEvent, error: Exception) -> ProjectionStopped:
    said = error.problem if isinstance(error, DaichoError) else repr(error)
    return ProjectionStopped(
        f"The event at position {event.position} could not be folded: {said}",
        fix=f"`daicho tail -t {event.tenant_id} --after {event.position - 1} --json | head -1` shows it; "
        "the tables were left as they are",
    )
