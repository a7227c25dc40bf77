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

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import asyncpg

from ledger.errors import StoreError, StoreUnavailable, TenantMismatch
from ledger.store.connections import Connections
from ledger.store.held import HeldConnection
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_SQL = load_statements("ledger.store", "queries.sql")


class Role(StrEnum):
    OWNER = "owner"
    WRITER = "writer"
    PROJECTOR = "projector"
    READER = "reader"
    ERASER = "eraser"
    COLLECTOR = "collector"


Locate = Callable[[], Awaitable[DatabaseServer]]

_NOT_LET_IN = (
    asyncpg.InvalidAuthorizationSpecificationError,  # no such login any more, or another password
    asyncpg.InvalidCatalogNameError,  # no such database any more
    asyncpg.TooManyConnectionsError,  # of this login, where writers are kept out; or of the server
)
"""What a server says of a tenant that moved away, or whose writers are kept out."""


@dataclass
class TenantDatabase:
    """`name` is random and comes from the catalogue, never from the tenant's id. It stays the same all the
    tenant's life; the server changes when the tenant is moved.

    `locate` asks the catalogue for the server once more, where the one that is known lets nobody in: so
    whoever works in a tenant goes on at its new place. It raises what says why not (TenantSuspended, …).
    """

    tenant_id: str
    name: str
    server: DatabaseServer
    locate: Locate | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # For worker processes, which live for one piece of work and stay where the tenant was.
        return TenantDatabase, (self.tenant_id, self.name, self.server)

    def role(self, role: Role) -> str:
        return f"{self.name}_{role.value}"

    async def connect(self, role: Role, **settings: str) -> Connection:
        """A connection in `role`, after the database has said that it is this tenant's. It is the caller's
        until it is closed, and counts as held (ledger/store/connections.py)."""
        return (await self._acquire("own", role, settings, hold=True))[0]

    @asynccontextmanager
    async def lease(self, role: Role, **settings: str) -> AsyncIterator[Connection]:
        """A connection in `role` for one piece of work that waits for no other connection. Raises
        StoreUnavailable, ConnectionLimitReached among it."""
        connection, connections = await self._acquire("lease", role, settings, hold=False)
        with connections.leased(connection):
            yield connection

    async def hold(self, role: Role) -> HeldConnection:
        """A connection for a session: its `close` gives it back, reset, to the next session."""
        return HeldConnection(*await self._acquire("session", role, {}, hold=True))

    def engine(self, role: Role) -> AsyncEngine:
        """An SQLAlchemy engine that holds a connection per session, and none while there is none."""
        # Here, because worker processes have no sessions and would wait for the import.
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        return create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: self.hold(role), poolclass=NullPool
        )

    async def _acquire(
        self, kind: str, role: Role, settings: Mapping[str, str], *, hold: bool
    ) -> tuple[Connection, Connections]:
        try:
            return await self._acquire_at(self.server, kind, role, settings, hold)
        except (StoreError, StoreUnavailable) as refused:
            if self.locate is None or not isinstance(refused.__cause__, _NOT_LET_IN):
                raise
            self.server = await self.locate()
            return await self._acquire_at(self.server, kind, role, settings, hold)

    async def _acquire_at(
        self, server: DatabaseServer, kind: str, role: Role, settings: Mapping[str, str], hold: bool
    ) -> tuple[Connection, Connections]:
        connection = await server.connections.acquire(
            self.name,
            self._purpose(kind, role, settings),
            lambda: self._open(server, role, settings),
            hold=hold,
        )
        return connection, server.connections

    def _purpose(self, kind: str, role: Role, settings: Mapping[str, str]) -> str:
        # The tenant's id too: a connection has said that the database is this tenant's, not another's whom
        # a wrong catalogue sends to the same one.
        options = (f"{name}={value}" for name, value in sorted(settings.items()))
        return " ".join([self.tenant_id, kind, role.value, *options])

    async def _open(self, server: DatabaseServer, role: Role, settings: Mapping[str, str]) -> Connection:
        how = {"role" if role is Role.OWNER else "login": self.role(role)}
        connection = await server.connect(self.name, **how, **settings)
        try:
            async with asyncio.timeout(server.connect_timeout_seconds):
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
