"""Catalogue: which tenants there are, in which database, under which blob prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

import asyncpg

from ledger.contract.names import shown, tenant_id_problem
from ledger.control.audit import record_act
from ledger.control.placement import ServerLoad, choose_server
from ledger.errors import InvalidName, TenantNotFound
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements
from ledger.store.tenant_database import TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")
_SERVERS = load_statements("ledger.control", "servers.sql")
CONNECTIONS_MAX = 2

TenantStatus = Literal["creating", "active", "suspended", "moving", "importing", "deleting", "deleted"]
NOT_THERE: dict[TenantStatus, str] = {
    "creating": "an interrupted creation of it",
    "importing": "an import of it that is not finished",
    "deleted": "that it was deleted",
}
"""Where there is a row and nothing to work with: what is told of it."""
SERVER_OF_THE_SETTINGS = "control"
"""The name of the server on which the control database lies."""


@dataclass(frozen=True)
class TenantRecord:
    """`former_ids`: what it was called where it was exported, and before; artifacts' paths may name them."""

    tenant_id: str
    name: str
    status: TenantStatus
    database_name: str
    blob_prefix: str
    created_at: datetime
    server_name: str
    schema_revision: str | None
    former_ids: tuple[str, ...]

    def database_on(self, server: DatabaseServer) -> TenantDatabase:
        return TenantDatabase(self.tenant_id, self.database_name, server)


class Catalogue:
    def __init__(self, server: DatabaseServer, pool: asyncpg.Pool) -> None:
        self._server = server
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, server: DatabaseServer) -> AsyncIterator["Catalogue"]:
        async def connect(*_args: object, **_options: object) -> Connection:
            return await server.connect()

        pool = await asyncpg.create_pool(min_size=0, max_size=CONNECTIONS_MAX, connect=connect)
        try:
            yield cls(server, pool)
        finally:
            pool.terminate()  # nothing is in flight: every statement here commits by itself

    async def list(self) -> list[TenantRecord]:
        return [_record(row) for row in await self._fetch("list_tenants")]

    async def find(self, tenant_id: str) -> TenantRecord | None:
        """Raises InvalidName before it asks, where no tenant can have this id."""
        if problem := tenant_id_problem(tenant_id):
            raise InvalidName(
                f"{shown(tenant_id)} is not a tenant id", expected=problem, fix="Correct the tenant id"
            )
        rows = await self._fetch("find_tenant", tenant_id)
        return _record(rows[0]) if rows else None

    async def get(self, tenant_id: str) -> TenantRecord:
        """A tenant whose making was finished; raises TenantNotFound."""
        tenant = await self.find(tenant_id)
        if tenant is None or tenant.status in NOT_THERE:
            raise TenantNotFound(
                f"There is no tenant {tenant_id!r}",
                found=NOT_THERE[tenant.status] if tenant else None,
                fix=f"Create it with `daicho tenant create {tenant_id}`; `daicho tenant list` shows all",
            )
        return tenant

    async def reserve(
        self, tenant_id: str, name: str, *, server: str | None = None, by: str | None = None
    ) -> TenantRecord:
        """The tenant's row. Where there is none yet it is made, with a random database name, on the server
        that ledger/control/placement.py chooses. Raises ServerNotFound, NoServerForTenant."""
        async with self.changing() as connection:
            await connection.fetch(_SERVERS["lock"])
            found = await connection.fetchrow(_SQL["find_tenant"], tenant_id)
            if found is not None:
                return _record(found)
            loads = [ServerLoad(*row) for row in await connection.fetch(_SERVERS["loads"])]
            chosen = choose_server(loads, server)
            random_name = f"t_{uuid4().hex}"
            await connection.execute(
                _SQL["reserve_tenant"], tenant_id, name, random_name, random_name, chosen
            )
            details = {"name": name, "database": random_name, "server": chosen}
            await record_act(connection, by, "tenant.placed", f"tenant:{tenant_id}", details=details)
            return _record(await connection.fetchrow(_SQL["find_tenant"], tenant_id))

    async def activate(self, tenant_id: str, revision: str, *, by: str | None = None) -> None:
        """Its database is made, at `revision`: from now on it is a tenant."""
        async with self.changing() as connection:
            await connection.execute(_SQL["activate"], tenant_id, revision)
            await record_act(connection, by, "tenant.created", f"tenant:{tenant_id}")

    async def note_revision(self, tenant_id: str, revision: str) -> None:
        await self._fetch("note_revision", tenant_id, revision)

    async def set_status(self, tenant_id: str, status: TenantStatus) -> None:
        await self._fetch("set_status", tenant_id, status)

    @asynccontextmanager
    async def locked(self, tenant_id: str) -> AsyncIterator[Connection]:
        """A connection to the control database that holds the tenant's provisioning lock."""
        connection = await self._server.connect()
        try:
            await connection.execute("SET lock_timeout = '60s'")
            await connection.execute(_SQL["lock_tenant"], tenant_id)
            yield connection
        except POSTGRES_ERRORS as error:
            raise store_error(error, f"provisioning {tenant_id!r}", self._server.name) from error
        finally:
            await connection.close()  # which frees the lock

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Connection]:
        """A transaction on the control database: for a change and the act that records it."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection
        except POSTGRES_ERRORS as error:
            raise store_error(error, "changing the catalogue", self._server.name) from error

    async def _fetch(self, statement: str, *arguments: Any) -> Any:
        return await self.ask(_SQL[statement], *arguments)

    async def ask(self, sql: str, *arguments: Any) -> Any:
        """The rows of one statement. Raises StoreUnavailable, StoreError."""
        try:
            return await self._pool.fetch(sql, *arguments)
        except POSTGRES_ERRORS as error:
            raise store_error(error, "asking the catalogue", self._server.name) from error


def _record(row: Any) -> TenantRecord:
    return TenantRecord(**{**row, "former_ids": tuple(row["former_ids"])})
