"""EventStore: the append-only log of one tenant. Appends are durable when they return; positions
run 1, 2, 3 … without gaps, and a reader at position p has seen everything up to p, for ever."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from ledger.contract.events import Event, RecordedEvent
from ledger.errors import DaichoError
from ledger.store.append import Group, Outcome, encode_group
from ledger.store.appender import Appender
from ledger.store.flights import Answered
from ledger.store.head_watcher import HeadWatcher
from ledger.store.postgres_errors import store_error
from ledger.store.reader import Reader
from ledger.store.recorded import recorded_event
from ledger.store.statements import load_statements
from ledger.store.subscription import Pages, Subscription, Wanted
from ledger.store.tenant_database import TenantDatabase
from ledger.store.wakeup import Announcer, Silence

_SQL = load_statements("ledger.store", "queries.sql")
MAX_POSITION = 2**63 - 1
READ_LIMIT_MAX = 10_000


class EventStore:
    """Reads go through the reader; appends through a connection leased in the writer role, one call
    at a time: commits of a tenant queue at its head row anyway.

    `appended` knows how far the log may be read and wakes who waits for more; `announcer` carries
    that to other processes."""

    def __init__(
        self,
        database: TenantDatabase,
        reader: Reader,
        *,
        deadline_seconds: float = 30.0,
        announcer: Announcer | None = None,
    ) -> None:
        self.database = database
        self.announcer = announcer or Silence()
        self.appended = HeadWatcher(
            self.head,
            self.announcer,
            topic=database.name,
            tenant_id=database.tenant_id,
            pace=lambda: database.server.connections.crowding,
        )
        self._pages = Pages(self._read, database.tenant_id)
        self._reader = reader
        self._deadline_seconds = deadline_seconds
        self._appender = Appender(
            database,
            deadline_seconds=deadline_seconds,
            acknowledged=self.appended.notify,
            first_recordings=self._read_positions,
        )

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
        group = encode_group(events, expected_version)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                [outcome] = await self.append_groups([group])
        except TimeoutError as error:
            raise store_error(error, "appending", self.database.server.name) from error
        if isinstance(outcome, DaichoError):
            raise outcome
        return outcome

    async def append_groups(self, groups: Sequence[Group]) -> list[Outcome]:
        """Append several groups in one commit; each has its own outcome. After StoreUnavailable
        they may be recorded or not; calling again with the same ids tells. The caller sets an end to it."""
        return await self._appender.append(groups)

    def send_groups(self, groups: Sequence[Group], answered: Answered) -> bool:
        """As `append_groups`, but at once: what is sent before another is answered follows that one.
        `answered` hears the outcomes or the error, after which nothing that was sent later is recorded:
        `append_groups` goes on with it. False, and nothing done, where only that can."""
        return self._appender.send(groups, answered)

    def give_up(self) -> None:
        """Ends the wait for what `send_groups` sent: it may be recorded or not."""
        self._appender.give_up()

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

    async def find(self, event_id: UUID) -> RecordedEvent | None:
        found = await self._read("read_by_id", event_id)
        return found[0] if found else None

    async def has_event(self, run_id: str, event_type: str) -> bool:
        found: bool = await self._fetchval("stream_has_type", run_id, event_type)
        return found

    async def read_last(
        self,
        limit: int,
        *,
        upto: int,
        after: int = 0,
        run_id: str | None = None,
        types: Iterable[str] | None = None,
    ) -> list[RecordedEvent]:
        """The last `limit` events of this run and of these types at positions after `after` and up to
        `upto`, in order of position."""
        wanted = _wanted(run_id, types)
        limit = min(limit, READ_LIMIT_MAX)
        if wanted.run_id is None:
            found = await self._read("read_last", after, upto, wanted.type_list, limit)
        else:
            found = await self._read(
                "read_last_of_stream", wanted.run_id, after, upto, wanted.type_list, limit
            )
        return found[::-1]

    def subscribe(
        self,
        after: int = 0,
        *,
        run_id: str | None = None,
        types: Iterable[str] | None = None,
        upto: int | None = None,
        batch: int = 500,
    ) -> Subscription:
        """Every event after position `after`, in order and once: those that are there, then live ones.

        `run_id` and `types` leave only events of this run and of these types; `upto` ends it there. Holds
        at most `batch` events. A lost connection or a server that restarts is waited out (and logged);
        only what is not retryable is raised, LedgerClosed among it. To go on in another process, subscribe
        after its `position`. `async with contextlib.aclosing(...)` ends it early.
        """
        if after < 0 or not 1 <= batch <= READ_LIMIT_MAX:
            raise ValueError(f"after is at least 0 and batch 1 to {READ_LIMIT_MAX}, not {after} and {batch}")
        wanted = _wanted(run_id, types)
        return Subscription(self.appended, self._pages, after=after, upto=upto, wanted=wanted, batch=batch)

    async def close(self) -> None:
        """Ends subscriptions, and waits for the append under way; the reader belongs to its opener, and the
        idle connections to the server's."""
        await self.appended.close()
        await self._appender.close()

    async def _read(self, statement: str, *arguments: Any) -> list[RecordedEvent]:
        rows = await self._reader.fetch(_SQL[statement], *arguments, doing="reading events")
        return [recorded_event(self.tenant_id, row) for row in rows]

    async def _read_positions(self, positions: list[int]) -> list[RecordedEvent]:
        return await self._read("read_positions", positions)

    async def _fetchval(self, statement: str, *arguments: Any) -> Any:
        return await self._reader.fetchval(_SQL[statement], *arguments, doing="reading events")


def _wanted(run_id: str | None, types: Iterable[str] | None) -> Wanted:
    return Wanted(run_id, None if types is None else frozenset(str(name) for name in types))
