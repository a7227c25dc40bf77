"""TenantFollower: one led tenant. It waits for stirrings, and while there is work it holds connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ledger.control.catalogue import TenantRecord
from ledger.errors import StoreUnavailable
from ledger.logs import get_logger
from ledger.store.event_store import EventStore
from ledger.store.reader import Reader
from ledger.store.tenant_database import TenantDatabase
from ledger.store.wakeup import Announcer
from projections.definition import Projection
from projections.following.slots import Slots
from projections.installed import Projections
from projections.lost import mark_lost, overdue_attempts, seconds_to_next_overdue
from projections.projector import Projector

IDLE_SECONDS = 5.0
"""How long connections are kept without work, unless another tenant waits for its turn."""
TURN_SECONDS = 10.0
"""How long a tenant that always has work is worked on while another waits."""
LOOK_SECONDS = 0.25
SWEEP_SPACING_SECONDS = 5.0
PAUSE_SECONDS_MIN = 1.0
PAUSE_SECONDS_MAX = 30.0
STOPPED_SECONDS = 60.0
"""A projection that stopped is tried again so much later: somebody may have rebuilt its tables."""
READER_CONNECTIONS = 2

log = get_logger(__name__)


class TenantFollower:
    """Works from the moment it is made. `open_database` asserts that the tenant may be worked on, and tells
    where; `database` is its last answer."""

    def __init__(
        self,
        tenant: TenantRecord,
        open_database: Callable[[], Awaitable[TenantDatabase]],
        announcer: Announcer,
        projections: Projections,
        slots: Slots,
        *,
        grace_seconds: float,
    ) -> None:
        self.tenant_id = tenant.tenant_id
        self.database: TenantDatabase | None = None
        self._open_database = open_database
        self._announcer = announcer
        self._projections = projections
        self._slots = slots
        self._grace_seconds = grace_seconds
        self._stirred = asyncio.Event()
        self._sweep_at: float | None = None
        self._swept_at = float("-inf")
        self._stopped_until: dict[str, float] = {}  # by projection
        self._was_heard = announcer.is_heard
        self.stir()
        self._stop_hearing = announcer.hear(tenant.database_name, self._heard)
        self._task = asyncio.create_task(self._follow(), name=f"daicho-follow-{self.tenant_id}")

    def stir(self) -> None:
        """Something may have been recorded. While it works, the projectors hear of it by themselves."""
        self._stirred.set()

    async def stop(self) -> None:
        """Nothing of it is under way any more when this returns."""
        self._stop_hearing()
        self._task.cancel()
        await asyncio.wait([self._task])

    def _heard(self) -> None:
        """Who hears is called for announcements and when hearing begins or ceases; the latter is the
        follower's business: it looks at every tenant's counter, not into every database."""
        if self._was_heard == self._announcer.is_heard:
            self.stir()
        self._was_heard = self._announcer.is_heard

    async def _follow(self) -> None:
        pause_seconds = PAUSE_SECONDS_MIN
        while True:
            await self._stirred_or_due()
            try:
                async with self._slots.one():
                    await self._work()
                pause_seconds = PAUSE_SECONDS_MIN
            except Exception as error:
                # Only this tenant waits; what is wrong with it may be cured meanwhile.
                log.warning("following_paused", tenant_id=self.tenant_id, problem=str(error))
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
                self.stir()

    async def _stirred_or_due(self) -> None:
        if self._stopped_until.keys() >= {each.name for each in self._projections}:
            await asyncio.sleep(min(self._stopped_until.values()) - self._now())
            return
        due = min([*self._stopped_until.values(), self._sweep_at or float("inf")])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due == float("inf") else max(0.0, due - self._now())):
                await self._stirred.wait()

    async def _work(self) -> None:
        self._stirred.clear()
        self._stopped_until = {name: at for name, at in self._stopped_until.items() if at > self._now()}
        projections = [each for each in self._projections if each.name not in self._stopped_until]
        async with self._opened(projections) as (store, reader, projectors):
            tasks = [asyncio.create_task(projector.run_until_cancelled()) for projector in projectors]
            try:
                await self._until_idle(store, reader, projectors)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for projector in projectors:
            if projector.stopped is not None:
                self._stopped_until[projector.projection.name] = self._now() + STOPPED_SECONDS

    async def _until_idle(self, store: EventStore, reader: Reader, projectors: Sequence[Projector]) -> None:
        began = self._now()
        while True:
            self._stirred.clear()  # what comes from now on is seen by the projectors, or stirs again
            await asyncio.sleep(LOOK_SECONDS)
            if any(projector.is_out_of_reach for projector in projectors):
                raise StoreUnavailable(f"The database of tenant {self.tenant_id!r} is out of reach")
            if self._slots.are_wanted and self._now() - began > TURN_SECONDS:
                self.stir()
                return
            idle_since = [projector.idle_since for projector in projectors if projector.stopped is None]
            if None in idle_since:
                continue
            idle_seconds = self._now() - max((since for since in idle_since if since), default=0.0)
            is_over = idle_seconds > IDLE_SECONDS or self._slots.are_wanted
            if is_over or self._now() - self._swept_at > SWEEP_SPACING_SECONDS:
                await self._sweep(store, reader)
            if is_over and not self._stirred.is_set():
                return

    async def _sweep(self, store: EventStore, reader: Reader) -> None:
        """Where nothing is left to project: attempts that are overdue are recorded as lost."""
        self._swept_at = self._now()
        lost = await mark_lost(store, await overdue_attempts(reader, grace_seconds=self._grace_seconds))
        for event in lost:
            log.warning("attempt_lost", tenant_id=self.tenant_id, run_id=event.run_id, step_id=event.step_id)
        if lost:
            self.stir()
        seconds = await seconds_to_next_overdue(reader, grace_seconds=self._grace_seconds)
        self._sweep_at = None if seconds is None else self._now() + max(seconds, SWEEP_SPACING_SECONDS)

    @asynccontextmanager
    async def _opened(
        self, projections: Sequence[Projection[Any]]
    ) -> AsyncIterator[tuple[EventStore, Reader, list[Projector]]]:
        self.database = await self._open_database()
        reader = await Reader.open(self.database, connections_max=READER_CONNECTIONS)
        store = EventStore(self.database, reader, announcer=self._announcer)
        projectors = [Projector(store, projection, is_eager=True) for projection in projections]
        try:
            yield store, reader, projectors
        finally:
            for projector in projectors:
                await projector.close()
            await store.close()
            await reader.close()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
