"""TenantDBManager: makes tenants' databases and hands out sessions to read them."""

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ledger.contract.names import shown, tenant_id_problem
from ledger.control.catalogue import Catalogue, TenantRecord
from ledger.control.migrations import require_head, tenant_revision, upgrade_tenant
from ledger.control.provisioning import provision
from ledger.errors import InvalidName, TenantConflict, TenantSuspended
from ledger.logs import get_logger
from ledger.store.server import DatabaseServer
from ledger.store.tenant_database import Role, TenantDatabase

TENANT_NAME_CHARS_MAX = 200

log = get_logger(__name__)


class TenantDBManager:
    def __init__(self, server: DatabaseServer, catalogue: Catalogue) -> None:
        self._server = server
        self._catalogue = catalogue
        self._engines: dict[str, AsyncEngine] = {}

    async def create_tenant_db(self, tenant_id: str, name: str) -> str:
        """Makes the tenant's database and migrates it; returns the database's name.

        Safe to repeat and to interrupt: a half-made tenant is finished by the next call. Raises
        InvalidName before anything is written, TenantConflict where the id has another name.
        """
        _check(tenant_id, name)
        async with self._catalogue.locked(tenant_id):
            tenant = await self._catalogue.reserve(tenant_id, name)
            if tenant.name != name:
                raise TenantConflict(
                    f"Tenant {tenant_id!r} exists under another name",
                    expected=f"the name {tenant.name!r}",
                    found=f"the name {name!r}",
                    fix="Choose another tenant id, or call with the name it has",
                )
            if tenant.status == "creating":
                await provision(tenant.database_on(self._server))
                await self._catalogue.set_status(tenant_id, "active")
                log.info("tenant_created", tenant_id=tenant_id, database=tenant.database_name)
        return tenant.database_name

    async def get_connection(self, tenant_id: str) -> AsyncSession:
        """A session in the tenant's database in the reader role: `async with await
        tenants.get_connection("acme") as session`. Its tables are those of `projections.tables`."""
        tenant = await self._catalogue.get(tenant_id)
        engine = self._engines.get(tenant.database_name)
        if engine is None:
            engine = tenant.database_on(self._server).engine(Role.READER)
            self._engines[tenant.database_name] = engine
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
        await upgrade_tenant((await self._catalogue.get(tenant_id)).database_on(self._server))

    async def open_for_work(self, tenant_id: str) -> tuple[TenantRecord, TenantDatabase]:
        """The tenant and its database, where it is active and at this code's schema revision."""
        tenant = await self._catalogue.get(tenant_id)
        if tenant.status == "suspended":
            raise TenantSuspended(
                f"Tenant {tenant_id!r} is suspended", fix=f"Resume it with `daicho tenant resume {tenant_id}`"
            )
        database = tenant.database_on(self._server)
        require_head(await tenant_revision(database), "tenant", f"The database of tenant {tenant_id!r}")
        return tenant, database

    async def close(self) -> None:
        for engine in self._engines.values():
            await engine.dispose()
        self._engines.clear()


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
