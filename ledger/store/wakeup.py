"""Wakeup: tells waiting coroutines of this process that something happened. A hint, never a
promise: whoever waits looks again by itself after a while."""

import asyncio


class Wakeup:
    """`generation` counts notifications, so that one between a look and the wait is not missed."""

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
