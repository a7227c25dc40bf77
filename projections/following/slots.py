"""Slots: how many tenants are worked on at once, each with connections of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._waiting = 0

    @property
    def are_wanted(self) -> bool:
        """Whether somebody waits: who has nothing to do makes room."""
        return self._waiting > 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
