"""TenantDatabase: one tenant's database and the roles in it.

owner      migrates; nobody logs in as it
writer     may execute the append functions and nothing else
projector  owns the projection schema and reads events
reader     may SELECT
eraser     may execute the erasing function and nothing else; taken up for one erasure and left again
collector  may execute the functions of collecting garbage and nothing else

Nobody logs in as any of them: a session is the configured user's and takes a role up at connect.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.errors import StoreError, TenantMismatch
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements

CLOSE_SECONDS = 5.0
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
        """A connection in `role`, after the database has said that it is this tenant's."""
        connection = await self.server.connect(self.name, role=self.role(role), **settings)
        try:
            await self._assert_identity(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def session(self, role: Role) -> AsyncIterator[Connection]:
        """A connection in `role` for one piece of work, closed after it."""
        connection = await self.connect(role)
        try:
            yield connection
        finally:
            with contextlib.suppress(*POSTGRES_ERRORS):  # the server is gone: asyncpg has aborted it
                await connection.close(timeout=CLOSE_SECONDS)

    async def pool(self, role: Role, connections_max: int) -> asyncpg.Pool:
        """A pool that opens connections when they are needed; every one asserts the identity."""

        async def connect(*_args: object, **_options: object) -> Connection:
            return await self.connect(role)

        return await asyncpg.create_pool(min_size=0, max_size=connections_max, connect=connect)

    def engine(self, role: Role, connections_max: int) -> AsyncEngine:
        return self.server.engine(connect=lambda: self.connect(role), connections_max=connections_max)

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
