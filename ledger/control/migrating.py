"""Migrating all: the control database first, then every tenant's, some at a time.

Each tenant is migrated in one transaction, so it is at the old revision or at the new one. Whatever ends it
half-way, running it again goes on: who is at this code's revision already is passed over.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ledger.control.catalogue import NOT_THERE, Catalogue, TenantRecord
from ledger.control.migrations import head_revision, upgrade_tenant
from ledger.control.servers import DatabaseServers
from ledger.control.template import drop_other_templates
from ledger.errors import DaichoError

PARALLEL = 4
PARALLEL_MAX = 64


@dataclass(frozen=True)
class Migrated:
    """What became of one tenant. `error` None: it is at this code's revision."""

    tenant_id: str
    seconds: float
    error: DaichoError | None = None


class Migration:
    """Of all tenants, wherever they live."""

    def __init__(
        self, servers: DatabaseServers, catalogue: Catalogue, tenants: Sequence[TenantRecord]
    ) -> None:
        self.tenants = tenants
        self._servers = servers
        self._catalogue = catalogue

    @classmethod
    async def of(cls, servers: DatabaseServers, catalogue: Catalogue) -> "Migration":
        made = [tenant for tenant in await catalogue.list() if tenant.status not in NOT_THERE]
        return cls(servers, catalogue, made)

    async def run(self, *, parallel: int = PARALLEL, keep_going: bool = False) -> AsyncIterator[Migrated]:
        """Migrates `parallel` tenants at a time and tells of each as it is done. After the first that fails
        no other is begun, unless `keep_going`; those under way are finished."""
        waiting = list(reversed(self.tenants))
        running: set[asyncio.Task[Migrated]] = set()
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    running.add(asyncio.create_task(self._migrate(waiting.pop())))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    migrated = task.result()
                    if migrated.error is not None and not keep_going:
                        waiting.clear()
                    yield migrated
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def drop_old_templates(self) -> None:
        """For the last step: new tenants are copies of this revision's template from now on."""
        for server in self._servers.opened():
            await drop_other_templates(server)

    async def _migrate(self, tenant: TenantRecord) -> Migrated:
        started = time.monotonic()
        error: DaichoError | None = None
        try:
            database = await self._servers.database(tenant)
            await upgrade_tenant(database)
            await self._catalogue.note_revision(tenant.tenant_id, head_revision("tenant"))
        except DaichoError as failed:
            error = failed
        return Migrated(tenant.tenant_id, round(time.monotonic() - started, 3), error)
