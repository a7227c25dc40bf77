"""Sender: batches from the queue to the store, as flights, and a repair where one failed."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from ledger.emitter.callers import Callers, Pending, log, settle, still_waiting, unconfirmed
from ledger.emitter.queue import EmitQueue
from ledger.emitter.retrying import Retrying
from ledger.errors import EmitterClosed, StoreUnavailable
from ledger.store.append import Outcome
from ledger.store.event_store import EventStore

FLIGHTS_MAX = 2
BATCH_EVENTS_UNDIVIDED = 16


class _Flight(NamedTuple):
    batch: list[Pending]
    events: int
    begun: float


class Sender:
    def __init__(self, store: EventStore, queue: EmitQueue, callers: Callers, batch_events_max: int) -> None:
        self._store = store
        self._queue = queue
        self._callers = callers
        self._batch_events_max = batch_events_max
        self._retrying = Retrying(store, callers, self.fail_late)
        self._flying: deque[_Flight] = deque()
        self._unsent: deque[list[Pending]] = deque()  # what the store could not send at once
        self._failed: deque[list[Pending]] = deque()  # what is not recorded, or nobody knows
        self.repair: asyncio.Task[None] | None = None
        self._is_pump_due = False
        self._is_lone = False  # whether the last flight had one event
        self._landed: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None

    def emitted(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something came into the queue."""
        if self._is_lone and not self._flying:
            self._pump()  # nobody else is about to come
        else:
            self._pump_soon(loop)

    async def end(self) -> None:
        """Waits until everybody was acknowledged or failed."""
        if self._is_busy():
            self._ended = self._ended or asyncio.get_running_loop().create_future()
            await self._ended

    def waiting(self) -> Iterator[Pending]:
        """Everybody who waits, for an answer, to be sent or for room."""
        return chain(self._sent(), self._queue.all())

    def deadlines(self) -> Iterator[float]:
        """When the calls under way are to be given up."""
        if self._retrying.deadline is not None:
            yield self._retrying.deadline
        if self._flying:
            yield self._flying[0].batch[-1].deadline

    def fail_late(self) -> None:
        """Everyone whose deadline is over hears so now, also those who were not yet sent."""
        now = time.monotonic()
        for pending in self.waiting():
            if now >= pending.deadline:
                self._callers.too_late(pending)
        self._retrying.end_late(now)
        if self._flying and now >= self._flying[0].batch[-1].deadline:
            self._store.give_up()

    # Flights

    def _pump_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """After those whose turn it is have emitted what they have, so that it goes together."""
        if not self._is_pump_due:
            self._is_pump_due = True
            loop.call_soon(self._pump_due)

    def _pump_due(self) -> None:
        self._is_pump_due = False
        self._pump()

    def _pump(self) -> None:
        """Sends what is worth sending now."""
        while self.repair is None and self._queue.groups and self._is_worth_a_flight():
            if batch := self._next_batch():
                self._fly(batch)
        if self._ended is not None and not self._ended.done() and not self._is_busy():
            self._ended.set_result(None)

    def _is_worth_a_flight(self) -> bool:
        # Beside another one only for as many as that one has: a few wait, and go with who comes meanwhile.
        return not self._flying or (
            len(self._flying) < FLIGHTS_MAX
            and self._queue.events >= max(BATCH_EVENTS_UNDIVIDED, self._flying_events())
        )

    def _next_batch(self) -> list[Pending]:
        # Half of all that is not acknowledged, so that one half is being committed while the callers of the
        # other are woken and encode their next events; taking all would let client and server take turns.
        # Where that would be a few, all go together: the rest would wait for a commit more.
        events = self._queue.events + self._flying_events()
        if events >= FLIGHTS_MAX * BATCH_EVENTS_UNDIVIDED:
            events = (events + 1) // FLIGHTS_MAX
        return self._queue.take(min(events, self._batch_events_max))

    def _is_busy(self) -> bool:
        return bool(self.repair or self._flying or not self._queue.is_empty)

    def _flying_events(self) -> int:
        return sum([flight.events for flight in self._flying])

    def _fly(self, batch: list[Pending]) -> None:
        try:
            is_sent = self._store.send_groups([pending.group for pending in batch], self._answered)
        except Exception as error:
            # What cannot be sent of one group is that caller's alone, which the repair finds out.
            log.warning("emit_unsendable", problem=f"{type(error).__name__}: {error}")
            is_sent = False
        if is_sent:
            events = sum([pending.events for pending in batch])
            self._flying.append(_Flight(batch, events, time.perf_counter()))
        else:
            self._unsent.append(batch)
            self._begin_repair()

    def _answered(self, answer: list[Outcome] | Exception) -> None:
        """Of the oldest flight."""
        batch, events, begun = self._flying.popleft()
        self._is_lone = events == 1
        if isinstance(answer, Exception):
            if isinstance(answer, StoreUnavailable):
                self._callers.retried(answer.problem, batch)
            self._failed.append(batch)
            self._begin_repair()
        else:
            self._callers.committed(batch, answer, time.perf_counter() - begun)
        if self._landed is not None and not self._flying:
            self._landed.set_result(None)
            self._landed = None
        if self._queue.groups or self._ended is not None:
            self._pump_soon(asyncio.get_running_loop())

    # Repair

    def _begin_repair(self) -> None:
        if self.repair is None:
            name = f"daicho-emitter-{self._store.tenant_id}"
            self.repair = asyncio.get_running_loop().create_task(self._go_on(), name=name)

    async def _go_on(self) -> None:
        """In the order of emitting: what was sent came before what was not."""
        try:
            if self._flying:
                self._landed = asyncio.get_running_loop().create_future()
                await self._landed
            self._failed += self._unsent
            self._unsent.clear()
            while self._failed:
                await self._retrying.record(still_waiting(self._failed[0]))
                self._failed.popleft()
        except BaseException as error:
            # The loop is being torn down, or this is a bug: nobody may wait for ever.
            self._fail_all(error)
            raise
        finally:
            self.repair = None
            self._pump_soon(asyncio.get_running_loop())

    def _sent(self) -> Iterator[Pending]:
        flying = (flight.batch for flight in self._flying)
        return chain.from_iterable(chain(flying, self._failed, self._unsent))

    def _fail_all(self, error: BaseException) -> None:
        for pending in self._sent():
            settle(pending, unconfirmed("the emitter was stopped"))
        for pending in self._queue.all():
            settle(pending, EmitterClosed(f"The emitter stopped: {type(error).__name__} {error}"))
        self._failed.clear()
        self._unsent.clear()
        self._queue.clear()
