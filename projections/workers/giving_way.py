"""Giving way: while others append, work over the log keeps one processor busy at most, and not all the time.

What makes an append slow is less how much is done beside it than how much at once: each of its waits for a
processor takes some milliseconds where none is free. So while appends go on, one worker is enough (pool.py);
it reads, folds and copies in turn instead of all at a time, and rests in between. Not by niceness: the work
is the server's as much as ours, and what it does for us holds locks that appends wait for.
"""

import asyncio
import time

from ledger.store.server import Connection
from ledger.store.statements import load_statements

LOOK_SECONDS = 0.05
MANY_EVENTS_PER_SECOND = 100
REST = 3
"""Times as long as it worked."""

_SQL = load_statements("projections", "queries.sql")


class Appends:
    """How fast the log grows, as whoever looks at its head now and then sees it."""

    def __init__(self, *, are_many: bool = False) -> None:
        self.are_many = are_many
        self._seen: tuple[float, int] | None = None
        self._looking = asyncio.Lock()

    async def look(self, connection: Connection) -> bool:
        """Whether many are appended now. Looks at the head twenty times a second at most."""
        async with self._looking:
            now = time.monotonic()
            if self._seen is None or now - self._seen[0] >= LOOK_SECONDS:
                head: int = await connection.fetchval(_SQL["head"])
                if self._seen is not None:
                    before, position = self._seen
                    self.are_many = head - position > MANY_EVENTS_PER_SECOND * (now - before)
                self._seen = now, head
            return self.are_many


async def rest(worked_seconds: float) -> None:
    """After so much work: it takes a quarter of one processor."""
    await asyncio.sleep(worked_seconds * REST)
