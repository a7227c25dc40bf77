"""EventEmitter: what callers see. It checks and encodes; the sender does the rest."""

import asyncio
import time
from collections.abc import Sequence

from ledger.contract.events import Event, RecordedEvent
from ledger.emitter.callers import Callers, Pending
from ledger.emitter.queue import EmitQueue, EmitterLimits
from ledger.emitter.sender import Sender
from ledger.errors import EmitterClosed, EventConflict, InvalidEvent, TenantMismatch
from ledger.figures import EmitterFigures, EmitterMeter
from ledger.store.append import encode_group
from ledger.store.codec import says_the_same
from ledger.store.event_store import EventStore

DEADLINE_WATCH_SECONDS_MIN = 0.01


class EventEmitter:
    """Emits events of one tenant. Use it from one event loop."""

    def __init__(self, store: EventStore, limits: EmitterLimits | None = None) -> None:
        self._store = store
        self._limits = limits or EmitterLimits()
        self.meter = EmitterMeter()
        self._queue = EmitQueue(self._limits)
        self._sender = Sender(store, self._queue, Callers(self.meter), self._limits.batch_events_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadline_watch: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def queue_depth(self) -> int:
        """Events accepted and not yet sent."""
        return self._queue.events

    def figures(self) -> EmitterFigures:
        """A snapshot of queue, commits and retries."""
        return self.meter.snapshot(
            queue_events=self._queue.events,
            queue_bytes=self._queue.size_bytes,
            waiting=self._queue.waiting_events,
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
        await self._sender.end()
        if self._deadline_watch is not None:
            self._deadline_watch.cancel()
            self._deadline_watch = None

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
        pending = Pending(
            encode_group(events, expected_version),
            time.monotonic() + self._limits.deadline_seconds,
            loop.create_future(),
        )
        self._queue.put(pending)
        if self._deadline_watch is None:
            self._watch_deadlines()
        self._sender.emitted(loop)
        return pending.done

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

    def _watch_deadlines(self) -> None:
        """Each waiter hears at its own deadline, also while a commit is in flight and hangs. One timer
        looks at the soonest; where nobody waits any longer, the next emit sets it again."""
        self._sender.fail_late()
        deadlines = [pending.deadline for pending in self._sender.waiting() if not pending.done.done()]
        deadlines.extend(self._sender.deadlines())
        self._deadline_watch = None
        if deadlines:
            seconds = max(min(deadlines) - time.monotonic(), DEADLINE_WATCH_SECONDS_MIN)
            self._deadline_watch = asyncio.get_running_loop().call_later(seconds, self._watch_deadlines)


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
