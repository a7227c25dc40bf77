"""Subscription: an application's notifications as they are recorded.

It pulls when it is asked, so a slow consumer costs one batch of memory and no thread. Between
pulls it waits for a sign from this process, and looks at the head by itself for what others record.
"""

from collections import deque
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

if TYPE_CHECKING:
    from ledger.store.recorder.applications import DaichoApplicationRecorder

BATCH_MAX = 500
POLL_SECONDS = 0.1


class DaichoSubscription(Subscription[ApplicationRecorder]):
    def __init__(self, recorder: "DaichoApplicationRecorder", gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._source = recorder
        self._passed = gt or 0
        self._waiting: deque[Notification] = deque()
        self._sign = Event()
        recorder.datastore.appended.listen(self._sign.set)

    def stop(self) -> None:
        """Ends the iteration, also one that waits in another thread."""
        super().stop()
        self._source.datastore.appended.unlisten(self._sign.set)
        self._sign.set()

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            if self._waiting:
                return self._waiting.popleft()
            self._sign.clear()  # before the look, so that a recording after it is not slept through
            if not self._has_been_stopped and not self._pull():
                self._sign.wait(POLL_SECONDS)
        raise StopIteration

    def _pull(self) -> bool:
        """Whether anything was new. Nothing is missed: whoever has seen the head at p has seen all
        up to p. Nothing is looked at twice, also where most of the log is other applications'."""
        head = self._source.head()
        if head <= self._passed:
            return False
        found = self._source.select_notifications(
            self._passed, BATCH_MAX, head, self._topics, inclusive_of_start=False
        )
        self._waiting.extend(found)
        self._passed = found[-1].id if len(found) == BATCH_MAX else head
        return True
