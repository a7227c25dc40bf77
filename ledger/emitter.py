"""EventEmitter: appends with group commit.

Every `emit` waits for its own durable commit; whatever queues up while commits are under way goes
into the next. No timer, so a lone writer waits for nobody. The queue is bounded: when it is full,
`emit` waits for room before it takes a place.

flight   a batch that was sent and is not answered. Where many wait there are two: while PostgreSQL works on
         one, the callers of the other are woken and encode what they emit next
repair   a task that goes on with what a flight failed to record, batch by batch, until it is confirmed or
         too late; it also makes the first connection. Nothing flies meanwhile
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ledger.contract.events import Event, RecordedEvent
from ledger.errors import EmitterClosed, EventConflict, InvalidEvent, StoreUnavailable, TenantMismatch
from ledger.figures import EmitterFigures, EmitterMeter
from ledger.logs import get_logger
from ledger.store.append import Group, Outcome, encode_group
from ledger.store.codec import says_the_same
from ledger.store.event_store import EventStore

FLIGHTS_MAX = 2
BATCH_EVENTS_UNDIVIDED = 16
RETRY_PAUSE_SECONDS_MIN = 0.05
RETRY_PAUSE_SECONDS_MAX = 2.0
DEADLINE_WATCH_SECONDS_MIN = 0.01
NO_ANSWER = "PostgreSQL did not answer"

log = get_logger(__name__)


@dataclass(frozen=True)
class EmitterLimits:
    queue_events_max: int = 10_000
    queue_bytes_max: int = 64 * 2**20
    batch_events_max: int = 1_000
    deadline_seconds: float = 30.0


class _Pending:
    """A group that waits for its commit. `deadline` is on the monotonic clock."""

    __slots__ = ("deadline", "done", "events", "group", "size_bytes")

    def __init__(self, group: Group, deadline: float, done: asyncio.Future[list[RecordedEvent]]) -> None:
        self.group = group
        self.deadline = deadline
        self.done = done
        self.events = len(group.events)
        self.size_bytes = sum([len(event.data) for event in group.events])


class _UnderWay(NamedTuple):
    """A call of the store, and the end of everybody's patience with it."""

    timeout: asyncio.Timeout
    deadline: float


class _Flight(NamedTuple):
    batch: list[_Pending]
    events: int
    begun: float


class EventEmitter:
    """Emits events of one tenant. Use it from one event loop."""

    def __init__(self, store: EventStore, limits: EmitterLimits | None = None) -> None:
        self._store = store
        self._limits = limits or EmitterLimits()
        self.meter = EmitterMeter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: deque[_Pending] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._waiting_for_room: deque[_Pending] = deque()
        self._flying: deque[_Flight] = deque()
        self._unsent: deque[list[_Pending]] = deque()  # what the store could not send at once
        self._failed: deque[list[_Pending]] = deque()  # what is not recorded, or nobody knows
        self._repair: asyncio.Task[None] | None = None
        self._is_pump_due = False
        self._is_lone = False  # whether the last flight had one event
        self._landed: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._under_way: _UnderWay | None = None
        self._deadline_watch: asyncio.TimerHandle | None = None
        self._problem = NO_ANSWER  # since the last commit
        self._closed = False

    @property
    def queue_depth(self) -> int:
        """Events accepted and not yet sent."""
        return self._queued_events

    def figures(self) -> EmitterFigures:
        """A snapshot of queue, commits and retries."""
        waiting = sum(pending.events for pending in self._waiting_for_room)
        return self.meter.snapshot(
            queue_events=self._queued_events, queue_bytes=self._queued_bytes, waiting=waiting
        )

    async def emit(self, event: Event) -> RecordedEvent:
        """Record `event`; returns once its commit is durable.

        Raises InvalidEvent or TenantMismatch before anything is sent, EventConflict where the id
        is recorded with other content, StoreUnavailable where no commit was confirmed within the
        deadline (repeating it with the same event is safe), EmitterClosed.
        """
        [recorded] = await self._enqueue((event,), None)
        return recorded

    async def emit_many(
        self, events: Sequence[Event], *, expected_version: int | None = None
    ) -> list[RecordedEvent]:
        """Record `events` in one atomic append, in order: all of them or none."""
        return await self._enqueue(events, expected_version) if events else []

    def _enqueue(
        self, events: Sequence[Event], expected_version: int | None
    ) -> asyncio.Future[list[RecordedEvent]]:
        """A future of what is recorded. A waiter that is cancelled cancels its future alone: what is not
        sent yet is passed over, what is in flight is recorded with its neighbours."""
        if self._closed:
            raise EmitterClosed("The emitter is closed", fix="Emit while the ledger is open")
        self._check(events)
        loop = self._loop
        if loop is None:  # asking for it is a system call, and there is but one
            loop = self._loop = asyncio.get_running_loop()
        pending = _Pending(
            encode_group(events, expected_version),
            time.monotonic() + self._limits.deadline_seconds,
            loop.create_future(),
        )
        self._waiting_for_room.append(pending)
        self._admit()
        if self._deadline_watch is None:
            self._watch_deadlines()
        if self._is_lone and not self._flying:
            self._pump()  # nobody else is about to come
        else:
            self._pump_soon(loop)
        return pending.done

    async def emit_derived(self, event: Event) -> RecordedEvent:
        """Record `event`, whose id was derived from an attempt. Where that attempt was executed before
        and said the same but for the clock, the answer is its first recording."""
        try:
            return await self.emit(event)
        except EventConflict:
            first = await self._store.find(event.event_id)
            if first is None or not says_the_same(first, event):
                raise
            return first

    async def close(self) -> None:
        """Refuses new events and waits until all others are acknowledged or failed."""
        self._closed = True
        if self._repair is not None or self._flying or self._queue or self._waiting_for_room:
            self._ended = self._ended or asyncio.get_running_loop().create_future()
            await self._ended
        if self._deadline_watch is not None:
            self._deadline_watch.cancel()
            self._deadline_watch = None

    def _check(self, events: Sequence[Event]) -> None:
        for event in events:
            require_emittable(event, self._store.tenant_id)
        if len(events) > self._limits.batch_events_max:
            raise InvalidEvent(
                "Too many events for one atomic append",
                expected=f"at most {self._limits.batch_events_max}",
                found=str(len(events)),
                fix="Emit them in several calls",
            )

    def _admit(self) -> None:
        """Moves groups into the queue while it has room, first come, first served."""
        while self._waiting_for_room and self._has_room(self._waiting_for_room[0]):
            pending = self._waiting_for_room.popleft()
            if not pending.done.done():
                self._queue.append(pending)
                self._queued_events += pending.events
                self._queued_bytes += pending.size_bytes

    def _has_room(self, pending: _Pending) -> bool:
        # An empty queue takes anything, or a group as large as the bound would wait for ever.
        return not self._queue or (
            self._queued_events + pending.events <= self._limits.queue_events_max
            and self._queued_bytes + pending.size_bytes <= self._limits.queue_bytes_max
        )

    def _next_batch(self) -> list[_Pending]:
        # Half of all that is not acknowledged, so that one half is being committed while the callers of the
        # other are woken and encode their next events; taking all would let client and server take turns.
        half = (self._queued_events + self._flying_events() + 1) // FLIGHTS_MAX
        most = min(max(BATCH_EVENTS_UNDIVIDED, half), self._limits.batch_events_max)
        batch: list[_Pending] = []
        events = 0
        while self._queue and (not batch or events + self._queue[0].events <= most):
            pending = self._take()
            if not pending.done.done():
                batch.append(pending)
                events += pending.events
        self._admit()
        return batch

    def _take(self) -> _Pending:
        pending = self._queue.popleft()
        self._queued_events -= pending.events
        self._queued_bytes -= pending.size_bytes
        return pending

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
        while self._repair is None and self._queue and self._is_worth_a_flight():
            if batch := self._next_batch():
                self._fly(batch)
        if self._ended is not None and not self._ended.done() and not self._is_busy():
            self._ended.set_result(None)

    def _is_worth_a_flight(self) -> bool:
        # Beside another one only for as many as that one has: a few wait, and go with who comes meanwhile.
        return not self._flying or (
            len(self._flying) < FLIGHTS_MAX
            and self._queued_events >= max(BATCH_EVENTS_UNDIVIDED, self._flying_events())
        )

    def _is_busy(self) -> bool:
        return bool(self._repair or self._flying or self._queue or self._waiting_for_room)

    def _flying_events(self) -> int:
        return sum([flight.events for flight in self._flying])

    def _fly(self, batch: list[_Pending]) -> None:
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
                self._retried(answer.problem, batch)
            self._failed.append(batch)
            self._begin_repair()
        else:
            self._committed(batch, answer, time.perf_counter() - begun)
        if self._landed is not None and not self._flying:
            self._landed.set_result(None)
            self._landed = None
        if self._queue or self._ended is not None:
            self._pump_soon(asyncio.get_running_loop())

    def _begin_repair(self) -> None:
        if self._repair is None:
            name = f"daicho-emitter-{self._store.tenant_id}"
            self._repair = asyncio.get_running_loop().create_task(self._go_on(), name=name)

    async def _go_on(self) -> None:
        """In the order of emitting: what was sent came before what was not."""
        try:
            if self._flying:
                self._landed = asyncio.get_running_loop().create_future()
                await self._landed
            self._failed += self._unsent
            self._unsent.clear()
            while self._failed:
                await self._send([pending for pending in self._failed[0] if not pending.done.done()])
                self._failed.popleft()
        except BaseException as error:
            # The loop is being torn down, or this is a bug: nobody may wait for ever.
            self._fail_all(error)
            raise
        finally:
            self._repair = None
            self._pump_soon(asyncio.get_running_loop())

    async def _send(self, batch: list[_Pending]) -> None:
        """One commit for `batch`, tried again by event id until it is confirmed or too late."""
        pause_seconds = RETRY_PAUSE_SECONDS_MIN
        while batch:
            begun = time.perf_counter()
            try:
                outcomes = await self._append(batch)
            except (StoreUnavailable, TimeoutError) as error:
                if isinstance(error, StoreUnavailable):
                    self._problem = error.problem
                self._fail_late()
                batch = [pending for pending in batch if not pending.done.done()]
                if batch:
                    self._retried(self._problem, batch)
                    await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    pause_seconds = min(pause_seconds * 2, RETRY_PAUSE_SECONDS_MAX)
            except Exception as error:
                await self._send_apart(batch, error)
                return
            else:
                self._committed(batch, outcomes, time.perf_counter() - begun)
                return

    def _committed(self, batch: list[_Pending], outcomes: list[Outcome], seconds: float) -> None:
        self._problem = NO_ANSWER
        self.meter.committed(sum([pending.events for pending in batch]), seconds)
        for pending, outcome in zip(batch, outcomes, strict=True):
            _settle(pending, outcome)

    def _retried(self, problem: str, batch: list[_Pending]) -> None:
        self._problem = problem
        self.meter.retried()
        log.warning("emit_retry", problem=problem, groups=len(batch))

    async def _append(self, batch: list[_Pending]) -> list[Outcome]:
        """One call of the store. Nobody waits any longer than the last deadline, so nothing in the store
        holds up the next."""
        try:
            async with asyncio.timeout(None) as timeout:
                self._under_way = _UnderWay(timeout, batch[-1].deadline)
                return await self._store.append_groups([pending.group for pending in batch])
        finally:
            self._under_way = None

    async def _send_apart(self, batch: list[_Pending], error: Exception) -> None:
        """PostgreSQL refused the batch for good: what it refuses of one group is that caller's alone."""
        if len(batch) == 1:
            _settle(batch[0], error)
            return
        for pending in batch:
            await self._send([pending])

    def _watch_deadlines(self) -> None:
        """Each waiter hears at its own deadline, also while a commit is in flight and hangs. One timer
        looks at the soonest; where nobody waits any longer, the next emit sets it again."""
        self._fail_late()
        deadlines = [pending.deadline for pending in self._waiting() if not pending.done.done()]
        if self._under_way is not None and not self._under_way.timeout.expired():
            deadlines.append(self._under_way.deadline)
        if self._flying:
            deadlines.append(self._flying[0].batch[-1].deadline)
        self._deadline_watch = None
        if deadlines:
            seconds = max(min(deadlines) - time.monotonic(), DEADLINE_WATCH_SECONDS_MIN)
            self._deadline_watch = asyncio.get_running_loop().call_later(seconds, self._watch_deadlines)

    def _fail_late(self) -> None:
        """Everyone whose deadline is over hears so now, also those who were not yet sent."""
        now = time.monotonic()
        for pending in self._waiting():
            if now >= pending.deadline:
                _settle(pending, _unconfirmed(self._problem))
        call = self._under_way
        if call is not None and now >= call.deadline and not call.timeout.expired():
            call.timeout.reschedule(now)
        if self._flying and now >= self._flying[0].batch[-1].deadline:
            self._store.give_up()

    def _waiting(self) -> Iterator[_Pending]:
        return chain(self._sent(), self._queue, self._waiting_for_room)

    def _sent(self) -> Iterator[_Pending]:
        flying = (flight.batch for flight in self._flying)
        return chain.from_iterable(chain(flying, self._failed, self._unsent))

    def _fail_all(self, error: BaseException) -> None:
        for pending in self._sent():
            _settle(pending, _unconfirmed("the emitter was stopped"))
        for pending in (*self._queue, *self._waiting_for_room):
            _settle(pending, EmitterClosed(f"The emitter stopped: {type(error).__name__} {error}"))
        for waiting in (self._failed, self._unsent, self._queue, self._waiting_for_room):
            waiting.clear()
        self._queued_events = self._queued_bytes = 0


def require_emittable(event: Event, tenant_id: str) -> None:
    """Raises TenantMismatch, and InvalidEvent for a type that is recorded in another way."""
    if event.tenant_id != tenant_id:
        raise TenantMismatch(
            "The event belongs to another tenant",
            expected=f"tenant_id {tenant_id!r}",
            found=f"tenant_id {event.tenant_id!r}",
            fix="Emit it through its own tenant",
        )
    if event.event_type.is_decided:
        raise InvalidEvent(
            f"{event.event_type.value} is a decision about a prompt pack and cannot be emitted",
            expected="tenant.prompts.publish(...), revise(...) or retire(...)",
            fix="Call that; nothing was sent",
        )


def _settle(pending: _Pending, outcome: Outcome | Exception) -> None:
    if pending.done.done():
        return
    if isinstance(outcome, Exception):
        pending.done.set_exception(outcome)
    else:
        pending.done.set_result(outcome)


def _unconfirmed(problem: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"No commit was confirmed before the deadline: {problem}",
        fix="The events are recorded once or not at all; emit the same events again to find out",
    )
