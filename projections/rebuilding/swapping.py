"""Swapping: new tables take the live ones' place, seen by nobody but in the answers.

    1  keep autovacuum from live and new tables, and hold the checkpoint, so that no projector writes (appends
       go on)
    2  fold what has come since, and commit it
    3  wait until no transaction looks at a state from before that commit: it would find the new tables,
       which it may come to by their names, empty or behind
    4  set the checkpoint, and give the new indexes the names of the live ones', which disturbs nobody
    5  lock the live tables, for a moment or not at all; exchange the tables' names, commit

Between lock and commit no file is touched and nothing is flushed: a crash before the commit's flush finds the
live tables in their place, and the rebuild is not done before the fact that records it is flushed, later in
the log than the exchange. What was live is dropped afterwards.

Where one of 3 to 5 does not come at once, everything is let go of and tried again after a pause: nobody ever
waits behind a rebuild that waits. The whole projection comes to the head as of 2; one table alone to where
the others are, the checkpoint.

A snapshot from between 2 and 5 has the new rows and the old checkpoint. Who wants both of one moment locks
the tables before taking it, as verify does.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.errors import RebuildBlocked, StoreError
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection
from projections.rebuilding.catching_up import CatchUp
from projections.rebuilding.filling import Digests
from projections.rebuilding.new_tables import (
    NewTable,
    exchange_indexes,
    exchange_tables,
    lock_live,
)
from projections.rebuilding.vacuums import NOT_HAD, keep_vacuum_off
from projections.workers.job import Folded

LOCK_MS_MAX = 25
LOOK_SECONDS_MAX = 0.25
PAUSE_SECONDS_MAX = 1.0
SWAP_SECONDS_MAX = 600.0
FEW_EVENTS = 500
ROUNDS_MAX = 10

_SQL = load_statements("projections.rebuilding", "queries.sql")
_SHARED_SQL = load_statements("projections", "queries.sql")


@dataclass
class Swap:
    """`holder` holds checkpoint and locks, `worker` folds. `position` is how far the new tables are."""

    holder: Connection
    worker: Connection
    projection: Projection[Any]
    tenant_id: str
    tables: Sequence[NewTable]
    digests: Digests
    position: int
    is_whole: bool
    tell: Folded
    held_ms: float = field(default=0.0)
    """How long the live tables were locked, the wait for their locks among it."""

    def __post_init__(self) -> None:
        self._catching_up = CatchUp(
            self.worker,
            self.projection,
            self.tenant_id,
            self.tables,
            self.digests,
            self.is_whole,
            self.tell,
        )

    async def come_near(self) -> None:
        """Folds what came while the tables were filled, until little is left; projectors go on."""
        for _ in range(ROUNDS_MAX):
            before = self.position
            await self._advance()
            if self.position - before < FEW_EVENTS:
                return

    async def perform(self) -> None:
        """Raises RebuildBlocked where the tables could not be had for ten minutes."""
        deadline = time.monotonic() + SWAP_SECONDS_MAX
        pause = 0.05
        while not await self._try():
            if time.monotonic() > deadline:
                raise await self._blocked()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, PAUSE_SECONDS_MAX)
            await self.come_near()

    async def _try(self) -> bool:
        try:
            await self.holder.execute("BEGIN")
            if not await keep_vacuum_off(self.holder, self.tables):
                await self.holder.execute("ROLLBACK")
                return False
            await self.holder.fetch(_SHARED_SQL["lock_checkpoint"], self.projection.name)
            await self._advance()
            if await self._all_look_afresh() and await self._exchange():
                return True
            await self.holder.execute("ROLLBACK")
        except BaseException:
            self.holder.terminate()
            raise
        return False

    async def _advance(self) -> None:
        async with self.worker.transaction():
            target = await self._target()
            await self._catching_up.advance(self.position, target)
        self.position = target

    async def _target(self) -> int:
        statement = _SHARED_SQL["head"] if self.is_whole else _SHARED_SQL["checkpoint"]
        arguments = () if self.is_whole else (self.projection.name,)
        target: int | None = await self.worker.fetchval(statement, *arguments)
        if target is None or target < self.position:
            raise StoreError(
                f"The checkpoint of projection {self.projection.name!r} went back or away meanwhile",
                fix="Rebuild the whole projection, not one table of it",
            )
        return target

    async def _all_look_afresh(self) -> bool:
        holder = self.holder.get_server_pid()
        older = await self.worker.fetch(_SQL["older_snapshots"], holder)
        until = time.monotonic() + LOOK_SECONDS_MAX
        for pid, transaction, xmin in older:
            while await self.worker.fetchval(_SQL["still_looking"], pid, transaction, xmin):
                if time.monotonic() > until:
                    return False
                await asyncio.sleep(0.01)
        return True

    async def _exchange(self) -> bool:
        await self.holder.execute(
            _SHARED_SQL["set_checkpoint"], self.projection.name, self.position, self.projection.version
        )
        try:
            await self.holder.execute(
                f"SET LOCAL lock_timeout = {LOCK_MS_MAX}; {exchange_indexes(self.tables)}"
            )
            locked_at = time.monotonic()
            # All in one message: while the tables are locked nothing waits for this process.
            await self.holder.execute(
                f"SET LOCAL statement_timeout = {LOCK_MS_MAX}; {lock_live(self.tables)}; "
                f"SET LOCAL statement_timeout = 0; {exchange_tables(self.tables)}; COMMIT"
            )
        except NOT_HAD:
            return False
        self.held_ms = (time.monotonic() - locked_at) * 1e3
        return True

    async def _blocked(self) -> RebuildBlocked:
        pids = [str(row["pid"]) for row in await self.worker.fetch(_SQL["older_snapshots"], 0)]
        return RebuildBlocked(
            f"Other transactions used the tables of {self.projection.name!r} for {SWAP_SECONDS_MAX:.0f} s",
            found=f"transactions of backends {', '.join(pids)}" if pids else None,
            fix="End them (pg_stat_activity shows them) and rebuild again; the tables are as they were",
        )
