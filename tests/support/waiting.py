"""Waiting for what happens soon, and failing where it does not."""

import asyncio
import time
from collections.abc import Callable

SECONDS = 20.0


async def eventually(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def wait_until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """The same without an event loop, or while nothing else may run on it."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.002)
