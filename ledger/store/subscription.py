"""Subscription: every event after a position, in order and once: those that are there, then live ones.

page    the events of a range of positions, read in one query; a subscriber holds one, never more
wanted  which events a subscriber asked for; positions advance past all others

A subscriber far behind lets the database pick its events; near the head it takes them from pages that
all subscribers at the same place share, so that a thousand live ones cost one query per wake-up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ledger.contract.events import RecordedEvent
from ledger.errors import StoreError
from ledger.store.head_watcher import HeadWatcher
from ledger.store.outage import outlast

SCAN_POSITIONS_MAX = 50_000
"""Rare types are looked for in ranges of at most so many positions, so that no query takes long."""

BEFORE_ANY_VERSION = -1

Fetch = Callable[..., Awaitable[list[RecordedEvent]]]


@dataclass(frozen=True)
class Wanted:
    """Events of this run, of these types; None means any."""

    run_id: str | None = None
    types: frozenset[str] | None = None

    @property
    def is_everything(self) -> bool:
        return self.run_id is None and self.types is None

    def takes(self, event: RecordedEvent) -> bool:
        return (self.run_id is None or event.run_id == self.run_id) and (
            self.types is None or event.event_type in self.types
        )

    @property
    def type_list(self) -> list[str] | None:
        return None if self.types is None else sorted(self.types)


class Page(NamedTuple):
    """`events` are all that were wanted of those up to position `upto`."""

    events: Sequence[RecordedEvent]
    upto: int


class Pages:
    """Reads pages for all subscribers of one store. Who asks for a page that is being read gets the same."""

    def __init__(self, fetch: Fetch, tenant_id: str) -> None:
        self._fetch = fetch
        self._tenant_id = tenant_id
        self._readings: dict[tuple[int, int], _Reading] = {}

    async def read(self, after: int, head: int, wanted: Wanted, limit: int, version: int) -> Page:
        """Up to `limit` events past `after`, none past `head`. `version` is that of the last event seen
        of the wanted run, or BEFORE_ANY_VERSION."""
        if wanted.is_everything:
            return await self._shared(after, head, limit)
        if head - after <= limit:
            page = await self._shared(after, head, limit)
            return Page([event for event in page.events if wanted.takes(event)], page.upto)
        return await self._read(lambda: self._picked(after, head, wanted, limit, version))

    async def _picked(self, after: int, head: int, wanted: Wanted, limit: int, version: int) -> Page:
        if wanted.run_id is not None:
            events = await self._fetch(
                "read_wanted_of_stream", wanted.run_id, version, after, head, wanted.type_list, limit
            )
        else:
            head = min(head, after + SCAN_POSITIONS_MAX)
            events = await self._fetch("read_wanted", after, head, wanted.type_list, limit)
        return Page(events, events[-1].position if len(events) == limit else head)

    async def _shared(self, after: int, head: int, limit: int) -> Page:
        key = (after, limit)
        reading = self._readings.get(key)
        if reading is None:
            whole = self._read(lambda: self._whole(after, min(head, after + limit)))
            reading = self._readings[key] = _Reading(asyncio.create_task(whole))
        reading.readers += 1
        try:
            return await asyncio.shield(reading.task)
        finally:
            reading.readers -= 1
            if reading.task.done() or not reading.readers:
                # Whoever comes now reads anew, and the last one to leave ends what nobody wants.
                reading.task.cancel()
                if self._readings.get(key) is reading:
                    del self._readings[key]

    async def _whole(self, after: int, upto: int) -> Page:
        events = await self._fetch("read_range", after, upto)
        if len(events) != upto - after:
            # Never seen; were it passed over, a subscriber would have missed an event for ever.
            raise StoreError(
                f"The log of tenant {self._tenant_id!r} is not what it was",
                expected=f"every position from {after + 1} to {upto}",
                found=f"{len(events)} events there",
                fix="Was the database restored from a backup while this process ran? Start it again",
            )
        return Page(events, upto)

    async def _read(self, read: Callable[[], Awaitable[Page]]) -> Page:
        return await outlast(read, doing="reading events", tenant_id=self._tenant_id)


@dataclass(eq=False)
class _Reading:
    task: asyncio.Task[Page]
    readers: int = 0


class Subscription(AsyncIterator[RecordedEvent]):
    """An async iterator for one consumer. A consumer that is cancelled while it waits, by a timeout for
    instance, may go on where it was. Holds one page; a slow consumer reads the next one later."""

    def __init__(
        self,
        heads: HeadWatcher,
        pages: Pages,
        *,
        after: int,
        upto: int | None,
        wanted: Wanted,
        batch: int,
    ) -> None:
        self.position = after
        """Every wanted event up to here was handed out: subscribing after it misses and repeats nothing."""
        self._heads = heads
        self._pages = pages
        self._upto = upto
        self._wanted = wanted
        self._batch = batch
        self._events: Iterator[RecordedEvent] = iter(())
        self._page_upto = after
        self._version = BEFORE_ANY_VERSION
        self._waiting: asyncio.Future[Any] | None = None
        self._closed = False

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> RecordedEvent:
        while not self._closed:
            event = next(self._events, None)
            if event is not None:
                self.position = event.position
                self._version = event.version
                return event
            self.position = self._page_upto
            if self._upto is not None and self.position >= self._upto:
                break
            await self._turn_page()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the iteration, also for a consumer that is waiting just now. It may be repeated."""
        self._closed = True
        self._events = iter(())
        if self._waiting is not None:
            self._waiting.cancel()

    async def _turn_page(self) -> None:
        if self._waiting is not None:
            raise RuntimeError("somebody waits for this subscription already: one consumer, one subscription")
        try:
            head = await self._wait(self._heads.beyond(self.position))
            if self._upto is not None:
                head = min(head, self._upto)
            page = await self._wait(
                asyncio.ensure_future(
                    self._pages.read(self.position, head, self._wanted, self._batch, self._version)
                )
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                return  # it was `aclose`, not somebody who cancels the consumer
            raise
        finally:
            self._waiting = None
        if not self._closed:
            self._events, self._page_upto = iter(page.events), page.upto

    async def _wait(self, waiting: "asyncio.Future[Any]") -> Any:
        self._waiting = waiting
        return await waiting
