"""Filling: a span's streams folded and their rows copied into the new tables, which nobody reads yet."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ledger.store.server import Connection
from ledger.store.tenant_database import Role, TenantDatabase
from projections.copy_format import HEADER, TRAILER, encoder_of
from projections.definition import Projection, State
from projections.digests import TableDigest
from projections.rows import Row, columns
from projections.table_sql import SCHEMA
from projections.workers import Span
from projections.workers.giving_way import Appends, rest
from projections.workers.job import Folded
from projections.workers.reading import folded, pages_of_streams, reading, streams_of_span

COPY_BYTES = 2 * 1024 * 1024

Names = Mapping[type[Row], str]
"""Of each row class, the table that its rows go into; rows of other classes are not wanted."""

Digests = dict[type[Row], TableDigest]


@dataclass(frozen=True)
class Fill:
    """The job of a rebuild's workers: to fold streams up to `position` into the tables of these names.
    `appends_are_many` is so at first; each looks for itself then."""

    database: TenantDatabase
    projection: Projection[Any]
    position: int
    names: Names
    appends_are_many: bool

    @asynccontextmanager
    async def open(self) -> AsyncIterator["_Filler"]:
        writer = await self.database.connect(Role.PROJECTOR, synchronous_commit="off")
        try:
            async with reading(self.database, Role.PROJECTOR, by_stream=True) as reader:
                yield _Filler(self, reader, writer)
        finally:
            writer.terminate()


class _Filler:
    def __init__(self, job: Fill, reader: Connection, writer: Connection) -> None:
        self._job = job
        self._reader = reader
        self._writer = writer
        self._appends = Appends(are_many=job.appends_are_many)

    async def perform(self, part: Span, tell: Folded) -> Digests:
        job = self._job
        copying = Copying(self._writer, job.names)

        async def give_way(worked_seconds: float) -> None:
            begun = time.monotonic()
            await copying.arrived()
            if await self._appends.look(self._reader):
                await rest(worked_seconds + time.monotonic() - begun)

        async with self._reader.transaction(readonly=True):
            pause = give_way if await self._appends.look(self._reader) else None
            streams = await streams_of_span(self._reader, part)
            pages = pages_of_streams(self._reader, streams, job.position, pause)
            async for state in folded(pages, job.projection, job.database.tenant_id, tell):
                await copying.add(state)
        await copying.finish()
        return copying.digests


class Copying:
    """Rows on their way into tables: some megabytes are collected while those before them are copied."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self.digests: Digests = {row_type: TableDigest() for row_type in names}
        self._connection = connection
        self._names = names
        self._encoders = {row_type: encoder_of(row_type) for row_type in names}
        self._waiting: dict[type[Row], list[bytes]] = {row_type: [] for row_type in names}
        self._bytes = 0
        self._under_way: asyncio.Task[None] | None = None

    async def add(self, state: State) -> None:
        """Takes the rows that the fold left in `state`."""
        encoders, waiting, size = self._encoders, self._waiting, self._bytes
        for row in state.take_touched():
            kind = type(row)
            if kind in encoders:
                encoded = encoders[kind](row)
                waiting[kind].append(encoded)
                size += len(encoded)
        self._bytes = size
        if size >= COPY_BYTES:
            await self._send()

    async def finish(self) -> None:
        """Returns when all rows are in their tables."""
        await self._send()
        await self.arrived()

    async def _send(self) -> None:
        await self.arrived()
        batch, self._waiting = self._waiting, {row_type: [] for row_type in self._names}
        self._bytes = 0
        self._under_way = asyncio.create_task(self._copy(batch))
        await asyncio.sleep(0)

    async def arrived(self) -> None:
        """Returns when what was sent is in its tables."""
        if self._under_way is not None:
            await self._under_way
            self._under_way = None

    async def _copy(self, batch: Mapping[type[Row], Sequence[bytes]]) -> None:
        for row_type, rows in batch.items():
            if rows:
                self.digests[row_type].add(rows)
                await copy_rows(self._connection, self._names[row_type], row_type, rows)


async def copy_rows(connection: Connection, table: str, row_type: type[Row], rows: Sequence[bytes]) -> None:
    """Copies rows, given as their bytes, into a table of the projection schema."""

    async def file() -> AsyncIterator[bytes]:
        yield b"".join((HEADER, *rows, TRAILER))

    await connection.copy_to_table(
        table, source=file(), schema_name=SCHEMA, columns=list(columns(row_type)), format="binary"
    )
