"""Queue: what was emitted and is not yet sent, within its bounds, first come, first served."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ledger.emitter.callers import Pending


@dataclass(frozen=True)
class EmitterLimits:
    queue_events_max: int = 10_000
    queue_bytes_max: int = 64 * 2**20
    batch_events_max: int = 1_000
    deadline_seconds: float = 30.0


class EmitQueue:
    """`groups` have a place, of `events` and `size_bytes` together; all others wait for room."""

    def __init__(self, limits: EmitterLimits) -> None:
        self._limits = limits
        self._waiting_for_room: deque[Pending] = deque()
        self.groups: deque[Pending] = deque()
        self.events = 0
        self.size_bytes = 0

    @property
    def waiting_events(self) -> int:
        """Events that wait for room."""
        return sum(pending.events for pending in self._waiting_for_room)

    @property
    def is_empty(self) -> bool:
        return not self.groups and not self._waiting_for_room

    def put(self, pending: Pending) -> None:
        self._waiting_for_room.append(pending)
        self._admit()

    def take(self, events_max: int) -> list[Pending]:
        """The next groups of so many events together, or one that is larger. Those whose callers have left
        are passed over."""
        batch: list[Pending] = []
        events = 0
        while self.groups and (not batch or events + self.groups[0].events <= events_max):
            pending = self.groups.popleft()
            self.events -= pending.events
            self.size_bytes -= pending.size_bytes
            if not pending.done.done():
                batch.append(pending)
                events += pending.events
        self._admit()
        return batch

    def all(self) -> Iterator[Pending]:
        return chain(self.groups, self._waiting_for_room)

    def clear(self) -> None:
        self.groups.clear()
        self._waiting_for_room.clear()
        self.events = self.size_bytes = 0

    def _admit(self) -> None:
        while self._waiting_for_room and self._has_room(self._waiting_for_room[0]):
            pending = self._waiting_for_room.popleft()
            if not pending.done.done():
                self.groups.append(pending)
                self.events += pending.events
                self.size_bytes += pending.size_bytes

    def _has_room(self, pending: Pending) -> bool:
        # An empty queue takes anything, or a group as large as the bound would wait for ever.
        return not self.groups or (
            self.events + pending.events <= self._limits.queue_events_max
            and self.size_bytes + pending.size_bytes <= self._limits.queue_bytes_max
        )
