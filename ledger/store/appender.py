"""Appender: a store's one way into the log: one connection in the writer role, one call at a time.

lone       a single event, on a log that nobody else appends to
new        a group whose events are, as far as is known here, all new
contended  the same, where another process appends too: the head's lock is let go before the flush
careful    whatever may be there already, or expects a version: event by event, under the same lock
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from ledger.contract.events import RecordedEvent
from ledger.store.append import (
    EncodedEvent,
    Group,
    Outcome,
    all_recorded,
    append_arguments,
    duplicate_positions,
    events_of,
    expects_nothing,
    lone_arguments,
    new_arguments,
    outcomes_of,
    positions_of,
    recorded,
)
from ledger.store.last_versions import LastVersions
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase
from ledger.store.writer import Writer

_SQL = load_statements("ledger.store", "queries.sql")
LOCK_WAIT_SHARE = 0.75
"""Of the deadline: how long one append may wait for the head."""


class Appender:
    """`acknowledged` hears of every position up to which all is recorded and durable; `first_recordings`
    reads the events at some positions."""

    def __init__(
        self,
        database: TenantDatabase,
        *,
        deadline_seconds: float,
        acknowledged: Callable[[int], None],
        first_recordings: Callable[[list[int]], Awaitable[list[RecordedEvent]]],
    ) -> None:
        self._database = database
        self._deadline_seconds = deadline_seconds
        self._tell = acknowledged
        self._first_recordings = first_recordings
        # A backend that waits for the head does not notice that its client gave up: were the head held for
        # long, each try would leave one behind until there is no connection left. It ends a little before
        # the deadline, so that whoever waits hears why.
        self._lock_timeout_ms = str(round(deadline_seconds * 1000 * LOCK_WAIT_SHARE))
        self._writer: Writer | None = None
        self._writing = asyncio.Lock()
        self._last_position = 0
        self.last_versions = LastVersions()
        self.is_contended = False

    async def append(self, groups: Sequence[Group]) -> list[Outcome]:
        """Appends several groups in one commit. Has no end of its own: the caller has a deadline."""
        try:
            async with (
                self._writing,
                self._database.lease(Role.WRITER, lock_timeout=self._lock_timeout_ms) as connection,
            ):
                writer = self._writer_on(connection)
                if expects_nothing(groups) and (outcomes := await self._append_new(writer, groups)):
                    return outcomes
                self.last_versions.forget()
                answer = await writer.call(_SQL["append"], append_arguments(groups))
        except POSTGRES_ERRORS as error:
            raise store_error(error, "appending", self._database.server.name) from error
        self._acknowledged(*positions_of(answer))
        there = duplicate_positions(answer)
        # A repeated emit is told what stands in the log, which may differ from its own event in time
        # and actor.
        first = {event.position: event for event in await self._first_recordings(there)} if there else {}
        return outcomes_of(groups, answer, first)

    def _writer_on(self, connection: Connection) -> Writer:
        if self._writer is None or self._writer.connection is not connection:
            self.last_versions.forget()
            self._writer = Writer(connection)
        return self._writer

    async def _append_new(self, writer: Writer, groups: Sequence[Group]) -> list[Outcome] | None:
        """None where an id is there already, or a version next to one that is remembered: the careful way
        tells what is so."""
        try:
            if len(groups) == 1 and len(groups[0].events) == 1 and not self.is_contended:
                return [[await self._append_one(writer, groups[0].events[0])]]
            return await self._append_many(writer, groups)
        except asyncpg.UniqueViolationError:
            return None

    async def _append_one(self, writer: Writer, event: EncodedEvent) -> RecordedEvent:
        arguments = lone_arguments(event, self.last_versions.of(event.run_id))
        position, version, at = await writer.call(_SQL["append_one"], arguments)
        self._acknowledged(position, position)
        self.last_versions.note((event.run_id,), (version,))
        return recorded(event, position, version, at)

    async def _append_many(self, writer: Writer, groups: Sequence[Group]) -> list[Outcome]:
        events = events_of(groups)
        streams = [event.run_id for event in events]
        if self.is_contended:
            # Whoever else appends may do so to the same streams: all versions are looked up.
            self.last_versions.forget()
            statement = _SQL["append_contended"]
        else:
            statement = _SQL["append_new"]
        told = self.last_versions.next_for(streams)
        first, at, looked_up = await writer.call(statement, new_arguments(events, told))
        versions = looked_up or told
        self._acknowledged(first, first + len(events) - 1)
        self.last_versions.note(streams, versions)
        return all_recorded(groups, first, versions, at)

    def _acknowledged(self, first: int, last: int) -> None:
        # Where somebody else appended since our last call, the head's lock is worth sharing: the next
        # call lets go of it before its flush. Alone, that would cost a fifth and gain nothing.
        self.is_contended = self._last_position not in {0, first - 1}
        self._last_position = max(last, self._last_position)
        self._tell(last)

    async def close(self) -> None:
        """Waits for the append under way; idle connections are the server's."""
        async with self._writing:
            self._writer = None
