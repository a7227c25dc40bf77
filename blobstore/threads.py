"""Blocking work, kept off the event loop in a bounded number of threads of our own.

Not `asyncio.to_thread`: its pool is shared with everybody else and holds six threads on two cores.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

THREADS_MAX = 32


class Threads:
    """At most `count` calls at a time; further callers wait their turn. Threads start when needed."""

    def __init__(self, name: str, count: int = THREADS_MAX) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """Call it in a thread and return what it returns, or raise what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def close(self) -> None:
        """Wait for every call handed in so far."""
        await asyncio.to_thread(partial(self._executor.shutdown, wait=True))
