"""EventEmitter: appends with group commit.

Every `emit` waits for its own durable commit; whatever queues up while one commit is in flight
goes into the next. No timer, so a lone writer waits for nobody. The queue is bounded: when it
is full, `emit` waits for room before it takes a place.
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


class EventEmitter:
    """Emits events of one tenant. Use it from one event loop."""

    def __init__(self, store: EventStore, limits: EmitterLimits | None = None) -> None:
        self._store = store
        self._limits = limits or EmitterLimits()
        self.meter = EmitterMeter()
        self._queue: deque[_Pending] = deque()
        self._queued_events = 0
        self._queued_bytes = 0
        self._waiting_for_room: deque[_Pending] = deque()
        self._sending: list[_Pending] = []
        self._sender: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None  # what the sender waits for while nothing is queued
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
        loop = asyncio.get_running_loop()
        pending = _Pending(
            encode_group(events, expected_version),
            time.monotonic() + self._limits.deadline_seconds,
            loop.create_future(),
        )
        self._waiting_for_room.append(pending)
        self._admit()
        self._wake_sender(loop)
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
        if self._sender is not None:
            self._wake_sender(asyncio.get_running_loop())
            await asyncio.wait([self._sender])

    def _check(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.tenant_id != self._store.tenant_id:
                raise TenantMismatch(
                    "The event belongs to another tenant",
                    expected=f"tenant_id {self._store.tenant_id!r}",
                    found=f"tenant_id {event.tenant_id!r}",
                    fix="Emit it through its own tenant",
                )
            if event.event_type.is_decided:
                raise InvalidEvent(
                    f"{event.event_type.value} is a decision about a prompt pack and cannot be emitted",
                    expected="tenant.prompts.publish(...), revise(...) or retire(...)",
                    fix="Call that; nothing was sent",
                )
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
        # Half of what waits, so that the callers of one half are woken, and encode their next events,
        # while the other half is being committed; taking all would let client and server take turns.
        most = min(max(BATCH_EVENTS_UNDIVIDED, (self._queued_events + 1) // 2), self._limits.batch_events_max)
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

    def _wake_sender(self, loop: asyncio.AbstractEventLoop) -> None:
        # One task and one timer for all emits: making them anew took a lone emit a tenth of its time.
        if self._sender is None:
            self._sender = loop.create_task(self._send_all(), name=f"daicho-emitter-{self._store.tenant_id}")
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if self._deadline_watch is None:
            self._watch_deadlines()

    async def _send_all(self) -> None:
        """Until the emitter is closed and everything is sent."""
        try:
            while self._queue or not self._closed:
                if not self._queue:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                    continue
                self._sending = self._next_batch()
                await self._send(self._sending)
                self._sending = []
        except BaseException as error:
            # The loop is being torn down, or this is a bug: nobody may wait for ever.
            self._fail_all(error)
            raise
        finally:
            if self._deadline_watch is not None:
                self._deadline_watch.cancel()
            self._deadline_watch = self._sender = None
            self._sending = []

    async def _send(self, batch: list[_Pending]) -> None:
        """One commit for `batch`, tried again by event id until it is confirmed or too late."""
        pause_seconds = RETRY_PAUSE_SECONDS_MIN
        while batch:
            begin = time.perf_counter()
            try:
                outcomes = await self._append(batch)
            except (StoreUnavailable, TimeoutError) as error:
                if isinstance(error, StoreUnavailable):
                    self._problem = error.problem
                self._fail_late()
                batch = [pending for pending in batch if not pending.done.done()]
                if batch:
                    self.meter.retried()
                    log.warning(
                        "emit_retry", problem=self._problem, groups=len(batch), pause_seconds=pause_seconds
                    )
                    await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    pause_seconds = min(pause_seconds * 2, RETRY_PAUSE_SECONDS_MAX)
            except Exception as error:
                await self._send_apart(batch, error)
                return
            else:
                self._problem = NO_ANSWER
                self.meter.committed(sum(pending.events for pending in batch), time.perf_counter() - begin)
                for pending, outcome in zip(batch, outcomes, strict=True):
                    _settle(pending, outcome)
                return

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

    def _waiting(self) -> Iterator[_Pending]:
        return chain(self._sending, self._queue, self._waiting_for_room)

    def _fail_all(self, error: BaseException) -> None:
        for pending in self._sending:
            _settle(pending, _unconfirmed("the emitter was stopped"))
        for pending in (*self._queue, *self._waiting_for_room):
            _settle(pending, EmitterClosed(f"The emitter stopped: {type(error).__name__} {error}"))
        self._queue.clear()
        self._waiting_for_room.clear()
        self._queued_events = self._queued_bytes = 0


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
