"""TenantDBManager: makes tenants' databases and hands out sessions to read them."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ledger.contract.names import shown, tenant_id_problem
from ledger.control.audit import record_act
from ledger.control.catalogue import Catalogue, TenantRecord, TenantStatus
from ledger.control.fence import keep_writers_out, let_writers_in
from ledger.control.migrations import head_revision, require_usable, tenant_revision, upgrade_tenant
from ledger.control.operations import require_idle
from ledger.control.provisioning import provision
from ledger.control.servers import DatabaseServers
from ledger.errors import InvalidName, TenantBusy, TenantConflict, TenantMoving, TenantSuspended
from ledger.logs import get_logger
from ledger.store.server import DatabaseServer
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

TENANT_NAME_CHARS_MAX = 200
PROVISIONING_MAX = 4
"""Tenants made at once; each takes up to three connections for itself, beside the limit."""
ENGINES_MAX = 64

_SQL = load_statements("ledger.control", "queries.sql")
log = get_logger(__name__)


class TenantDBManager:
    def __init__(self, servers: DatabaseServers, catalogue: Catalogue) -> None:
        self.servers = servers
        self.catalogue = catalogue
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
        async with self._provisioning, self.catalogue.locked(tenant_id):
            tenant = await self.catalogue.reserve(tenant_id, name, server=server, by=by)
            _require_no_other(tenant)
            _require_same("name", tenant_id, tenant.name, name)
            if server is not None:
                _require_same("server", tenant_id, tenant.server_name, server)
            if tenant.status == "creating":
                await provision(await self.servers.database(tenant))
                await self.catalogue.activate(tenant_id, head_revision("tenant"), by=by)
                log.info("tenant_created", tenant_id=tenant_id, database=tenant.database_name)
        return tenant.database_name

    async def get_connection(self, tenant_id: str) -> AsyncSession:
        """A session in the tenant's database in the reader role: `async with await
        tenants.get_connection("acme") as session`. Its tables are those of `projections.tables`.

        It takes a connection with its first statement and gives it back at its end; the first statement
        raises ConnectionLimitReached (retryable) where none came free in time."""
        tenant = await self.catalogue.get(tenant_id)
        engine = self._engines.get(tenant.database_name)
        if engine is None:
            engine = (await self.database(tenant)).engine(Role.READER)
            self._engines[tenant.database_name] = engine
        self._engines.move_to_end(tenant.database_name)
        while len(self._engines) > ENGINES_MAX:
            self._engines.popitem(last=False)  # its sessions end as they would; it holds no connection
        return AsyncSession(engine, expire_on_commit=False)

    async def list(self) -> list[TenantRecord]:
        return await self.catalogue.list()

    async def reserve(
        self, tenant_id: str, name: str, *, server: str | None = None, by: str | None = None
    ) -> TenantRecord:
        """The tenant's row, made where there is none yet. Raises InvalidName, ServerNotFound,
        NoServerForTenant before anything is written."""
        _check(tenant_id, name)
        return await self.catalogue.reserve(tenant_id, name, server=server, by=by)

    async def suspend(self, tenant_id: str, *, by: str | None = None, reason: str | None = None) -> None:
        """From now on nothing is recorded, by whoever has the tenant open either: they hear TenantSuspended.
        What is recorded stays readable. May be repeated. Raises TenantNotFound, TenantBusy."""
        async with self._changing(tenant_id) as tenant:
            if tenant.status != "suspended":
                await self._set_status(tenant_id, "suspended", by, reason)
            await keep_writers_out(await self.database(tenant))

    async def resume(self, tenant_id: str, *, by: str | None = None, reason: str | None = None) -> None:
        """Ends a suspension. May be repeated. Raises TenantNotFound, TenantBusy."""
        async with self._changing(tenant_id) as tenant:
            await let_writers_in(await self.database(tenant))
            if tenant.status != "active":
                await self._set_status(tenant_id, "active", by, reason)

    async def rename(
        self, tenant_id: str, name: str, *, by: str | None = None, reason: str | None = None
    ) -> None:
        """Gives the tenant another name; its id is for good. Raises InvalidName, TenantNotFound,
        TenantBusy."""
        _check(tenant_id, name)
        async with self._changing(tenant_id) as tenant:
            if tenant.name == name:
                return
            async with self.catalogue.changing() as connection:
                await connection.execute(_SQL["rename"], tenant_id, name)
                details = {"from": tenant.name, "to": name}
                subject = f"tenant:{tenant_id}"
                await record_act(connection, by, "tenant.renamed", subject, reason=reason, details=details)

    @asynccontextmanager
    async def _changing(self, tenant_id: str) -> AsyncIterator[TenantRecord]:
        """The tenant, with nothing else under way with it."""
        await self.catalogue.get(tenant_id)
        async with self.catalogue.locked(tenant_id):
            await require_idle(self.catalogue, tenant_id)
            yield await self.catalogue.get(tenant_id)

    async def _set_status(
        self, tenant_id: str, status: TenantStatus, by: str | None, reason: str | None
    ) -> None:
        action = {"suspended": "tenant.suspended", "active": "tenant.resumed"}[status]
        async with self.catalogue.changing() as connection:
            await connection.execute(_SQL["set_status"], tenant_id, status)
            await record_act(connection, by, action, f"tenant:{tenant_id}", reason=reason)

    async def database(self, tenant: TenantRecord) -> TenantDatabase:
        """The tenant's database, which is looked for again where it lets nobody in any more."""
        database = await self.servers.database(tenant)

        async def locate() -> DatabaseServer:
            found = await self.catalogue.get(tenant.tenant_id)
            require_accepting(found)
            return await self.servers.get(found.server_name)

        return replace(database, locate=locate)

    async def migrate(self, tenant_id: str) -> None:
        tenant = await self.catalogue.get(tenant_id)
        await upgrade_tenant(await self.servers.database(tenant))
        await self.catalogue.note_revision(tenant_id, head_revision("tenant"))

    async def open_for_work(
        self, tenant_id: str, *, for_reading: bool = False
    ) -> tuple[TenantRecord, TenantDatabase]:
        """The tenant and its database, where it accepts work and is at this code's schema revision or the one
        before it; `for_reading` also where nothing may be recorded just now."""
        tenant = await self.catalogue.get(tenant_id)
        if not for_reading:
            require_accepting(tenant)
        database = await self.database(tenant)
        require_usable(await tenant_revision(database), f"The database of tenant {tenant_id!r}")
        return tenant, database

    async def close(self) -> None:
        self._engines.clear()
        await self.servers.close()


def require_accepting(tenant: TenantRecord) -> None:
    """Raises TenantSuspended, TenantMoving (retryable) or TenantBusy where nothing may be recorded."""
    what = f"Tenant {tenant.tenant_id!r}"
    if tenant.status == "suspended":
        fix = f"Resume it with `daicho tenant resume {tenant.tenant_id}`"
        raise TenantSuspended(f"{what} is suspended", fix=fix)
    if tenant.status == "moving":
        raise TenantMoving(f"{what} is being moved to another server", fix="Wait for it; it takes seconds")
    if tenant.status == "deleting":
        fix = f"`daicho tenant delete {tenant.tenant_id}` finishes it"
        raise TenantBusy(f"{what} is being deleted", fix=fix)


def _require_no_other(tenant: TenantRecord) -> None:
    if tenant.status in {"importing", "deleting", "deleted"}:
        raise TenantConflict(
            f"Tenant {tenant.tenant_id!r} cannot be made",
            expected="an id that no tenant has or had",
            found={"importing": "one that is being imported", "deleting": "one that is being deleted"}.get(
                tenant.status, "one that was deleted"
            ),
            fix="Choose another tenant id",
        )


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
