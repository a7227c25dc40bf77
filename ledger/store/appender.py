"""Appender: a store's one way into the log, over one connection in the writer role at a time.

send    what is new, at once, where a connection is at hand: see flights.py
append  whatever it is: what is new as above; what may be there already, or expects a version, the careful
        way, event by event under the same lock
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from ledger.contract.events import RecordedEvent
from ledger.store.append import (
    Group,
    Outcome,
    append_arguments,
    duplicate_positions,
    expects_nothing,
    outcomes_of,
    positions_of,
)
from ledger.store.connections import Connections
from ledger.store.flights import BEFORE_0009, PRESENT, Answered, Flights
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase
from ledger.store.writer import Writer

_SQL = load_statements("ledger.store", "queries.sql")
LOCK_WAIT_SHARE = 0.75
"""Of the deadline: how long one append may wait for the head."""


class Appender:
    """`acknowledged` hears what Flights tell; `first_recordings` reads the events at some positions."""

    def __init__(
        self,
        database: TenantDatabase,
        *,
        deadline_seconds: float,
        acknowledged: Callable[[int, float], None],
        first_recordings: Callable[[list[int]], Awaitable[list[RecordedEvent]]],
    ) -> None:
        self._database = database
        self._first_recordings = first_recordings
        # A backend that waits for the head does not notice that its client gave up: were the head held for
        # long, each try would leave one behind until there is no connection left. It ends a little before
        # the deadline, so that whoever waits hears why.
        self._lock_timeout_ms = str(round(deadline_seconds * 1000 * LOCK_WAIT_SHARE))
        self._writer: Writer | None = None
        self._writing = asyncio.Lock()
        self._lease: Connections | None = None  # the writer's, while anything that was sent is under way
        self._landed: asyncio.Future[None] | None = None
        self._is_repeat_likely = False
        self.flights = Flights(acknowledged)

    def send(self, groups: Sequence[Group], answered: Answered) -> bool:
        """Sends `groups` for one commit, and `answered` hears what came of it, in the order of sending. After
        an error nothing that was sent later is recorded; `append` goes on from there. False, and nothing
        done, where only `append` can."""
        way = self.flights.way_of(groups)
        if way is None or self._writing.locked() or not expects_nothing(groups):
            return False
        writer = self._take_lease()
        if writer is None or way.statement not in writer.on_wire:
            self._landing()
            return False

        def landed(outcome: list[Outcome] | Exception) -> None:
            self._is_repeat_likely |= isinstance(outcome, asyncpg.UniqueViolationError)
            self._landing()
            answered(self._typed(outcome) if isinstance(outcome, Exception) else outcome)

        try:
            self.flights.begin(writer, way, groups, landed)
        finally:
            self._landing()
        return True

    def give_up(self) -> None:
        """Ends the connection of what was sent: all of it hears that it is lost."""
        if self._lease is not None and self._writer is not None:
            self._writer.connection.terminate()

    async def append(self, groups: Sequence[Group]) -> list[Outcome]:
        """Appends several groups in one commit. Has no end of its own: the caller has a deadline."""
        try:
            async with self._writing:
                await self._all_landed()
                async with self._database.lease(
                    Role.WRITER, lock_timeout=self._lock_timeout_ms
                ) as connection:
                    writer = await self._writer_on(connection)
                    if expects_nothing(groups) and (outcomes := await self._append_new(writer, groups)):
                        return outcomes
                    self.flights.last_versions.forget()
                    answer = await writer.call(_SQL["append"], append_arguments(groups))
        except POSTGRES_ERRORS as error:
            raise self._typed(error) from error
        self.flights.acknowledged(*positions_of(answer))
        there = duplicate_positions(answer)
        # A repeated emit is told what stands in the log, which may differ from its own event in time
        # and actor.
        first = {event.position: event for event in await self._first_recordings(there)} if there else {}
        return outcomes_of(groups, answer, first)

    async def _append_new(self, writer: Writer, groups: Sequence[Group]) -> list[Outcome] | None:
        """None where an id is there already, or a version next to one that is remembered: the careful way
        tells what is so."""
        if self._is_repeat_likely:
            self._is_repeat_likely = False
            return None
        way = self.flights.way_of(groups)
        assert way is not None, "nothing else is under way"
        await writer.prepare_on_wire(way.statement)
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

        def landed(outcome: list[Outcome] | Exception) -> None:
            self._landing()
            _settle(answer, outcome)

        self.flights.begin(writer, way, groups, landed)
        try:
            return await answer
        except asyncpg.UniqueViolationError:
            return None

    def _take_lease(self) -> Writer | None:
        """The writer, if its connection is at hand or at work for what was sent before."""
        if self._lease is None and self._writer is not None and not self.flights:
            connections = self._database.server.connections
            if connections.lease_again(self._writer.connection):
                self._lease = connections
        return None if self._lease is None else self._writer

    def _landing(self) -> None:
        """Where nothing is under way any more the lease ends, and whoever waited for it goes on."""
        if self.flights:
            return
        if self._lease is not None and self._writer is not None:
            self._lease.release(self._writer.connection)
            self._lease = None
        if self._landed is not None and not self._landed.done():
            self._landed.set_result(None)

    async def _all_landed(self) -> None:
        if self.flights:
            self._landed = asyncio.get_running_loop().create_future()
            await self._landed

    async def _writer_on(self, connection: Connection) -> Writer:
        if self._writer is None or self._writer.connection is not connection:
            self.flights.last_versions.forget()
            self.flights.ways = PRESENT if await connection.fetchval(_SQL["is_at_0009"]) else BEFORE_0009
            self._writer = Writer(connection)
        return self._writer

    def _typed(self, error: BaseException) -> Exception:
        typed = store_error(error, "appending", self._database.server.name)
        typed.__cause__ = error
        return typed

    async def close(self) -> None:
        """Waits for the appends under way; idle connections are the server's."""
        async with self._writing:
            await self._all_landed()
            self._writer = None


def _settle(answer: asyncio.Future[list[Outcome]], outcome: list[Outcome] | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
