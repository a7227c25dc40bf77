"""Follower: leads its share of the tenants and keeps every projection of theirs up to date."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from ledger.control.catalogue import TenantRecord
from ledger.control.tenants import TenantDBManager
from ledger.errors import DaichoError, TenantNotFound
from ledger.logs import get_logger
from ledger.store.server import DatabaseServer
from ledger.store.tenant_database import TenantDatabase
from ledger.store.wakeup import Announcer
from projections.following.insertions import Insertions
from projections.following.leadership import Leadership
from projections.following.session import TenantFollower
from projections.following.slots import Slots
from projections.installed import Projections
from projections.lost import GRACE_SECONDS

ROUND_SECONDS = 1.0
"""How often it looks for tenants without a leader, new ones among them."""
INSERTIONS_SECONDS = 5.0
INSERTIONS_SECONDS_UNHEARD = 1.0
TENANTS_AT_ONCE = 16
PAUSE_SECONDS = 1.0
EVERY_TENANT = "*"

log = get_logger(__name__)


class Follower:
    """Of all active tenants, or of those in `tenant_ids`. `server` is the one of the control database."""

    def __init__(
        self,
        server: DatabaseServer,
        tenants: TenantDBManager,
        announcer: Announcer,
        projections: Projections,
        *,
        tenant_ids: Sequence[str] | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.changed: Callable[[str, str], None] = lambda _tenant_id, _what: None
        """Is told of every tenant that it begins ("leading") or ceases ("left") to lead."""
        self._server = server
        self._tenants = tenants
        self._announcer = announcer
        self._projections = projections
        self._tenant_ids = None if tenant_ids is None else frozenset(tenant_ids)
        self._grace_seconds = grace_seconds
        self._slots = Slots(TENANTS_AT_ONCE)
        self._following: dict[str, TenantFollower] = {}
        self._was_heard = False
        self._looked_at = float("-inf")

    async def run_until_cancelled(self) -> None:
        """Raises TenantNotFound at once where a tenant that was named is not there."""
        await self._check_tenants()
        while True:
            try:
                await self._lead_until_lost()
            except DaichoError as error:
                # Others may lead meanwhile: whatever this one did last is fenced by the checkpoints.
                log.warning("leadership_lost", problem=error.problem)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _check_tenants(self) -> None:
        there = {record.tenant_id for record in await self._tenants.list()}
        for tenant_id in sorted((self._tenant_ids or frozenset()) - there):
            problem = f"There is no tenant {tenant_id!r}"
            raise TenantNotFound(problem, fix="`daicho tenant list` shows all; nothing was followed")

    async def _lead_until_lost(self) -> None:
        lost = asyncio.Event()
        group = EVERY_TENANT if self._tenant_ids is None else "\x1f".join(sorted(self._tenant_ids))
        leadership = Leadership(self._server, group)
        insertions = Insertions()
        try:
            await leadership.open(lost.set)
            while leadership.is_held:
                await self._round(leadership)
                await self._stir_the_written(insertions)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ROUND_SECONDS):
                        await lost.wait()
        finally:
            await asyncio.gather(*(self._leave(tenant_id) for tenant_id in list(self._following)))
            await insertions.close()
            leadership.close()

    async def _round(self, leadership: Leadership) -> None:
        records = {record.tenant_id: record for record in await self._wanted()}
        for tenant_id in await leadership.surplus(records):
            await self._leave(tenant_id)  # nothing of it is under way when another takes over
            await leadership.cease(tenant_id)
        for tenant_id in await leadership.take(records):
            self._lead(records[tenant_id])

    async def _wanted(self) -> list[TenantRecord]:
        active = [record for record in await self._tenants.list() if record.status == "active"]
        named = self._tenant_ids
        return [record for record in active if named is None or record.tenant_id in named]

    def _lead(self, record: TenantRecord) -> None:
        tenant_id = record.tenant_id

        async def open_database() -> TenantDatabase:
            return (await self._tenants.open_for_work(tenant_id))[1]

        self._following[tenant_id] = TenantFollower(
            record,
            open_database,
            self._announcer,
            self._projections,
            self._slots,
            grace_seconds=self._grace_seconds,
        )
        self.changed(tenant_id, "leading")

    async def _leave(self, tenant_id: str) -> None:
        followed = self._following.pop(tenant_id, None)
        if followed is not None:
            await followed.stop()
            self.changed(tenant_id, "left")

    async def _stir_the_written(self, insertions: Insertions) -> None:
        """From time to time; and at once where wake-ups begin or cease to arrive, for some were lost."""
        now, is_heard = time.monotonic(), self._announcer.is_heard
        spacing = INSERTIONS_SECONDS if is_heard else INSERTIONS_SECONDS_UNHEARD
        if is_heard == self._was_heard and now - self._looked_at < spacing:
            return
        self._was_heard, self._looked_at = is_heard, now
        known = [followed.database for followed in self._following.values() if followed.database is not None]
        for tenant_id in await insertions.moved(known):
            self._following[tenant_id].stir()
