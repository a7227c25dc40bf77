"""TenantDBManager: makes tenants' databases and hands out sessions to read them."""

import asyncio
from collections import OrderedDict

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ledger.contract.names import shown, tenant_id_problem
from ledger.control.catalogue import Catalogue, TenantRecord
from ledger.control.migrations import head_revision, require_usable, tenant_revision, upgrade_tenant
from ledger.control.provisioning import provision
from ledger.control.servers import DatabaseServers
from ledger.errors import InvalidName, TenantConflict, TenantSuspended
from ledger.logs import get_logger
from ledger.store.tenant_database import Role, TenantDatabase

TENANT_NAME_CHARS_MAX = 200
PROVISIONING_MAX = 4
"""Tenants made at once; each takes up to three connections for itself, beside the limit."""
ENGINES_MAX = 64

log = get_logger(__name__)


class TenantDBManager:
    def __init__(self, servers: DatabaseServers, catalogue: Catalogue) -> None:
        self.servers = servers
        self._catalogue = catalogue
        self._engines: OrderedDict[str, AsyncEngine] = OrderedDict()
        self._provisioning = asyncio.Semaphore(PROVISIONING_MAX)

    async def create_tenant_db(
        self, tenant_id: str, name: str, *, server: str | None = None, by: str | None = None
    ) -> str:
        """Makes the tenant's database, on `server` or where ledger/control/placement.py says; returns the
        database's name. `by` is who asks for it, for the audit trail.

        Safe to repeat and to interrupt: a half-made tenant is finished by the next call. Raises
        InvalidName before anything is written, TenantConflict where the id has another name or lives on
        another server, ServerNotFound, NoServerForTenant.
        """
        _check(tenant_id, name)
        async with self._provisioning, self._catalogue.locked(tenant_id):
            tenant = await self._catalogue.reserve(tenant_id, name, server=server, by=by)
            _require_same("name", tenant_id, tenant.name, name)
            if server is not None:
                _require_same("server", tenant_id, tenant.server_name, server)
            if tenant.status == "creating":
                await provision(await self.servers.database(tenant))
                await self._catalogue.activate(tenant_id, head_revision("tenant"), by=by)
                log.info("tenant_created", tenant_id=tenant_id, database=tenant.database_name)
        return tenant.database_name

    async def get_connection(self, tenant_id: str) -> AsyncSession:
        """A session in the tenant's database in the reader role: `async with await
        tenants.get_connection("acme") as session`. Its tables are those of `projections.tables`.

        It takes a connection with its first statement and gives it back at its end; the first statement
        raises ConnectionLimitReached (retryable) where none came free in time."""
        tenant = await self._catalogue.get(tenant_id)
        engine = self._engines.get(tenant.database_name)
        if engine is None:
            engine = (await self.servers.database(tenant)).engine(Role.READER)
            self._engines[tenant.database_name] = engine
        self._engines.move_to_end(tenant.database_name)
        while len(self._engines) > ENGINES_MAX:
            self._engines.popitem(last=False)  # its sessions end as they would; it holds no connection
        return AsyncSession(engine, expire_on_commit=False)

    async def list(self) -> list[TenantRecord]:
        return await self._catalogue.list()

    async def suspend(self, tenant_id: str) -> None:
        """From now on `ledger.tenant` refuses it; what is recorded stays readable."""
        await self._catalogue.get(tenant_id)
        await self._catalogue.set_status(tenant_id, "suspended")

    async def resume(self, tenant_id: str) -> None:
        await self._catalogue.get(tenant_id)
        await self._catalogue.set_status(tenant_id, "active")

    async def migrate(self, tenant_id: str) -> None:
        tenant = await self._catalogue.get(tenant_id)
        await upgrade_tenant(await self.servers.database(tenant))
        await self._catalogue.note_revision(tenant_id, head_revision("tenant"))

    async def open_for_work(self, tenant_id: str) -> tuple[TenantRecord, TenantDatabase]:
        """The tenant and its database, where it is active and at this code's schema revision or the one
        before it."""
        tenant = await self._catalogue.get(tenant_id)
        if tenant.status == "suspended":
            raise TenantSuspended(
                f"Tenant {tenant_id!r} is suspended", fix=f"Resume it with `daicho tenant resume {tenant_id}`"
            )
        database = await self.servers.database(tenant)
        require_usable(await tenant_revision(database), f"The database of tenant {tenant_id!r}")
        return tenant, database

    async def close(self) -> None:
        self._engines.clear()
        await self.servers.close()


def _require_same(what: str, tenant_id: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise TenantConflict(
            f"Tenant {tenant_id!r} exists under another {what}",
            expected=f"the {what} {found!r}",
            found=f"the {what} {wanted!r}",
            fix=f"Choose another tenant id, or call with the {what} it has",
        )


def _check(tenant_id: str, name: str) -> None:
    if problem := tenant_id_problem(tenant_id):
        said = f"{shown(tenant_id)} is not a tenant id"
        raise InvalidName(said, expected=problem, fix="Correct the tenant id")
    if not name.strip() or len(name) > TENANT_NAME_CHARS_MAX or "\x00" in name or not name.isprintable():
        raise InvalidName(
            f"{name[:40]!r} is not a tenant name",
            expected=f"1 to {TENANT_NAME_CHARS_MAX} printable characters",
            fix="Correct the name",
        )
