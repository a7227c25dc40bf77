"""uuid7: ids in the order in which they were made (UUID version 7, RFC 9562 section 5.7).

An index of random ids is touched all over: on a long log every event has a page of it read back, and after a
checkpoint written whole. Ids in order of time go to its end.

tick  a 4096th of a millisecond: 48 bits of Unix time in ms and 12 of its fraction (section 6.2, method 3)
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from uuid import UUID

_VERSION = 7 << 12
_VARIANT = 0b10 << 62


def uuid_of(tick: int, entropy: bytes) -> UUID:
    """48 bits of ms | 0111 | 12 bits of fraction | 10 | the first 62 bits of eight bytes of entropy."""
    high = tick >> 12 << 16 | _VERSION | tick & 0xFFF
    return UUID(int=high << 64 | _VARIANT | int.from_bytes(entropy) >> 2)


def tick_of(nanoseconds: int) -> int:
    """Of Unix time."""
    return nanoseconds * 512 // 125_000


class TimeOrderedIds:
    """Each id is greater than the one before, from whatever thread; where the clock stands still or goes
    back, its tick is the next one. What keeps ids of different processes apart is their 62 random bits."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._last = 0
        self._counting = threading.Lock()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forked)

    def next(self) -> UUID:
        with self._counting:
            self._last = tick = max(tick_of(self._clock()), self._last + 1)
        return uuid_of(tick, os.urandom(8))

    def _forked(self) -> None:
        # The thread that was counting when the process was forked is not in the child.
        self._counting = threading.Lock()


uuid7 = TimeOrderedIds().next
