"""TenantDatabase: one tenant's database and the roles in it.

writer     may execute the append functions and nothing else
projector  owns the projection schema and reads events
reader     may SELECT
eraser     may execute the erasing function and nothing else; used for one erasure at a time
collector  may execute the functions of collecting garbage and nothing else
owner      owns the rest, and migrates

Each but the owner is a login of this one database: PostgreSQL lets it into no other. Nobody logs in as
the owner; a migration is the configured user's session, which takes that role up at connect.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.errors import StoreError, TenantMismatch
from ledger.store.connections import Lease
from ledger.store.held import HeldConnection
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements

_SQL = load_statements("ledger.store", "queries.sql")


class Role(StrEnum):
    OWNER = "owner"
    WRITER = "writer"
    PROJECTOR = "projector"
    READER = "reader"
    ERASER = "eraser"
    COLLECTOR = "collector"


@dataclass(frozen=True)
class TenantDatabase:
    """`name` is random and comes from the catalogue, never from the tenant's id."""

    tenant_id: str
    name: str
    server: DatabaseServer

    def role(self, role: Role) -> str:
        return f"{self.name}_{role.value}"

    async def connect(self, role: Role, **settings: str) -> Connection:
        """A connection in `role`, after the database has said that it is this tenant's. It is the caller's
        until it is closed, and counts as held (ledger/store/connections.py)."""
        return await self.server.connections.acquire(
            self.name, _purpose("own", role, settings), lambda: self._open(role, settings), hold=True
        )

    def lease(self, role: Role, **settings: str) -> Lease:
        """`async with database.lease(role) as connection`: for one piece of work that waits for no other
        connection. Raises StoreUnavailable, ConnectionLimitReached among it."""
        purpose = _purpose("lease", role, settings)
        return self.server.connections.lease(self.name, purpose, lambda: self._open(role, settings))

    async def hold(self, role: Role) -> "HeldConnection":
        """A connection for a session: its `close` gives it back, reset, to the next session."""
        connection = await self.server.connections.acquire(
            self.name, _purpose("session", role, {}), lambda: self._open(role, {}), hold=True
        )
        return HeldConnection(connection, self.server.connections)

    def engine(self, role: Role) -> AsyncEngine:
        """An SQLAlchemy engine that holds a connection per session, and none while there is none."""
        return create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: self.hold(role), poolclass=NullPool
        )

    async def _open(self, role: Role, settings: Mapping[str, str]) -> Connection:
        how = {"role" if role is Role.OWNER else "login": self.role(role)}
        connection = await self.server.connect(self.name, **how, **settings)
        try:
            async with asyncio.timeout(self.server.connect_timeout_seconds):
                await self._assert_identity(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _assert_identity(self, connection: Connection) -> None:
        try:
            found = await connection.fetchval(_SQL["identity"])
        except asyncpg.UndefinedTableError:
            raise StoreError(
                f"The database of tenant {self.tenant_id!r} has no identity",
                expected="a database made by create_tenant_db",
                fix="Run create_tenant_db for this tenant again; it finishes what was interrupted",
            ) from None
        except POSTGRES_ERRORS as error:
            raise store_error(error, "asserting the tenant", self.server.name) from error
        if found != self.tenant_id:
            raise TenantMismatch(
                f"The catalogue's database for tenant {self.tenant_id!r} belongs to another tenant",
                expected=f"identity {self.tenant_id!r}",
                found=f"identity {found!r}",
                fix="Nothing was read or written. Correct the catalogue",
            )


def _purpose(kind: str, role: Role, settings: Mapping[str, str]) -> str:
    if not settings:
        return f"{kind} {role.value}"
    return " ".join([kind, role.value, *(f"{name}={value}" for name, value in sorted(settings.items()))])
