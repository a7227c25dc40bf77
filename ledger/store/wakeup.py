"""Wake-ups: hints that something happened, never promises. Whoever waits looks again by itself.

topic   what something happened to, as other processes name it: a tenant's database, or its tables
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Wakeup:
    """Tells waiting coroutines of this event loop. `generation` counts notifications, so that one
    between a look and the wait is not missed."""

    def __init__(self) -> None:
        self.generation = 0
        self._event = asyncio.Event()

    def notify(self) -> None:
        self.generation += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> bool:
        """True as soon as the generation is past `seen`; False after `seconds`."""
        if self.generation != seen:
            return True
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets the notification.
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Announcer(Protocol):
    """Carries wake-ups between processes; the composition root hands one in."""

    @property
    def is_heard(self) -> bool:
        """Whether announcements of other processes arrive here, as far as was found out lately."""
        ...

    def announce(self, topic: str, announcers: float = 1.0) -> None:
        """Tells other processes. Returns at once, never raises, and may come to nothing. So many, this one
        among them, announce the topic: each does so that much more rarely."""
        ...

    def hear(self, topic: str, heard: Callable[[], None]) -> Callable[[], None]:
        """Calls `heard` when another process announces `topic`, and whenever `is_heard` changes: what
        was announced in between is lost. The answer ends it."""
        ...


class Silence:
    """The announcer where there is none: everybody looks by himself."""

    is_heard = False

    def announce(self, topic: str, announcers: float = 1.0) -> None:
        pass

    def hear(self, topic: str, heard: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


def projected_topic(database: str) -> str:
    """The topic of a tenant's tables having moved; its events' topic is the database's name itself."""
    return f"{database}/projected"
