"""EventStore: the append-only log of one tenant. Appends are durable when they return; positions
run 1, 2, 3 … without gaps, and a reader at position p has seen everything up to p, for ever."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from ledger.contract.events import EVENT_TYPES, Event, RecordedEvent
from ledger.errors import DaichoError
from ledger.store.append import (
    EncodedEvent,
    Group,
    Outcome,
    append_arguments,
    duplicate_positions,
    encode_group,
    lone_arguments,
    lone_event,
    outcomes_of,
    recorded,
)
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.reader import CLOSE_SECONDS, Reader
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase
from ledger.store.wakeup import Wakeup

_SQL = load_statements("ledger.store", "queries.sql")
MAX_POSITION = 2**63 - 1
READ_LIMIT_MAX = 10_000
POLL_SECONDS = 0.1


def recorded_event(tenant_id: str, row: Any) -> RecordedEvent:
    """A row of the read statements as a RecordedEvent."""
    event_type = row[4]
    return RecordedEvent(
        row[0],
        row[1],
        row[2],
        row[3],
        EVENT_TYPES.get(event_type, event_type),
        tenant_id,
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
    )


class EventStore:
    """Reads go through the reader's pool; appends through one connection in the
    writer role, one call at a time: commits of a tenant queue at its head row anyway."""

    def __init__(self, database: TenantDatabase, reader: Reader, *, deadline_seconds: float = 30.0) -> None:
        self.database = database
        self.appended = Wakeup()
        self._reader = reader
        self._deadline_seconds = deadline_seconds
        self._writer: Connection | None = None
        self._writing = asyncio.Lock()

    @property
    def tenant_id(self) -> str:
        return self.database.tenant_id

    async def append(
        self, events: Sequence[Event], *, expected_version: int | None = None
    ) -> list[RecordedEvent]:
        """Append `events` as one atomic group and return them as recorded, in order.

        Ids recorded before, with the same content, return their first recording. Raises
        InvalidEvent before anything is sent, EventConflict, VersionConflict, StoreUnavailable.
        """
        [outcome] = await self.append_groups([encode_group(events, expected_version)])
        if isinstance(outcome, DaichoError):
            raise outcome
        return outcome

    async def append_groups(self, groups: Sequence[Group]) -> list[Outcome]:
        """Append several groups in one commit; each has its own outcome. After StoreUnavailable
        they may be recorded or not; calling again with the same ids tells."""
        lone = lone_event(groups)
        async with self._writing:
            try:
                if self._writer is None or self._writer.is_closed():
                    self._writer = await self.database.connect(Role.WRITER)
                if lone is not None and (outcome := await self._append_one(self._writer, lone)):
                    return [outcome]
                answer = await self._writer.fetchrow(
                    _SQL["append"], *append_arguments(groups), timeout=self._deadline_seconds
                )
            except POSTGRES_ERRORS as error:
                self._drop_writer()
                raise store_error(error, "appending", self.database.server.name) from error
            except BaseException:
                # Cancelled in mid-flight: the answer of this call must not meet the next one.
                self._drop_writer()
                raise
        self.appended.notify()
        return outcomes_of(groups, answer, await self._first_recordings(answer))

    async def _append_one(self, writer: Connection, lone: EncodedEvent) -> list[RecordedEvent] | None:
        """None where the id is there already: the other function tells what with."""
        try:
            answer = await writer.fetchrow(
                _SQL["append_one"], *lone_arguments(lone), timeout=self._deadline_seconds
            )
        except asyncpg.UniqueViolationError:
            return None
        self.appended.notify()
        return [recorded(lone, *answer)]

    async def head(self) -> int:
        """The last position; 0 where nothing is recorded."""
        position: int = await self._fetchval("head")
        return position

    async def read(self, after: int = 0, limit: int = 1_000) -> list[RecordedEvent]:
        """Up to `limit` events with positions greater than `after`, in order of position."""
        return await self._read("read", after, min(limit, READ_LIMIT_MAX))

    async def read_run(
        self, run_id: str, upto: int | None = None, *, after_version: int = -1, limit: int | None = None
    ) -> list[RecordedEvent]:
        """A run's events in order of version, those at positions up to `upto` (all when None)."""
        upto = MAX_POSITION if upto is None else upto
        return await self._read("read_stream", run_id, after_version, upto, limit)

    async def last_position_at(self, run_id: str, time: datetime) -> int:
        """The position of the run's last event recorded at or before `time`; 0 where none was."""
        return await self._fetchval("last_position_at", run_id, time) or 0

    async def find(self, event_id: UUID) -> RecordedEvent | None:
        found = await self._read("read_by_id", event_id)
        return found[0] if found else None

    async def has_event(self, run_id: str, event_type: str) -> bool:
        found: bool = await self._fetchval("stream_has_type", run_id, event_type)
        return found

    async def subscribe(self, after: int = 0, *, batch: int = 500) -> AsyncIterator[RecordedEvent]:
        """Every event after position `after`, in order: those that are there, then live ones."""
        while True:
            seen = self.appended.generation
            events = await self.read(after, batch)
            for event in events:
                yield event
                after = event.position
            if not events:
                # Events of other processes give no sign here, so it also looks by itself.
                await self.appended.wait(seen, POLL_SECONDS)

    async def close(self) -> None:
        """Lets go of the writer's connection; the reader belongs to whoever opened it."""
        async with self._writing:
            if self._writer is None:
                return
            try:
                await self._writer.close(timeout=CLOSE_SECONDS)
            except POSTGRES_ERRORS:
                pass  # the server is gone or hangs: asyncpg has aborted the connection
            finally:
                self._writer = None

    async def _read(self, statement: str, *arguments: Any) -> list[RecordedEvent]:
        rows = await self._reader.fetch(_SQL[statement], *arguments, doing="reading events")
        return [recorded_event(self.tenant_id, row) for row in rows]

    async def _first_recordings(self, answer: Any) -> dict[int, RecordedEvent]:
        """The events that were there already, by position: a repeated emit is told what stands in
        the log, which may differ from its own event in time and actor."""
        positions = duplicate_positions(answer)
        if not positions:
            return {}
        return {event.position: event for event in await self._read("read_positions", positions)}

    async def _fetchval(self, statement: str, *arguments: Any) -> Any:
        return await self._reader.fetchval(_SQL[statement], *arguments, doing="reading events")

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.terminate()
            self._writer = None
