"""Reader: a tenant's small pool of connections in the reader role, which may only SELECT."""

import asyncio
from typing import Any

import asyncpg

from ledger.errors import LedgerClosed
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.tenant_database import CLOSE_SECONDS as CLOSE_SECONDS
from ledger.store.tenant_database import Role, TenantDatabase

READ_SECONDS_MAX = 60.0
"""A page takes milliseconds. Whoever waits longer waits for a network that lost the way."""


class Reader:
    def __init__(self, database: TenantDatabase, pool: asyncpg.Pool) -> None:
        self.database = database
        self._pool = pool
        self._closed = False

    @classmethod
    async def open(cls, database: TenantDatabase, *, connections_max: int) -> "Reader":
        """Connects when it is first used; whoever asks while all connections are busy waits."""
        return cls(database, await database.pool(Role.READER, connections_max))

    async def fetch(self, statement: str, *arguments: Any, doing: str = "reading") -> list[Any]:
        if self._closed:
            raise LedgerClosed("The ledger is closed", fix="Read while it is open")
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                return await self._fetch(statement, *arguments)
        except POSTGRES_ERRORS as error:
            raise store_error(error, doing, self.database.server.name) from error

    async def fetchval(self, statement: str, *arguments: Any, doing: str = "reading") -> Any:
        rows = await self.fetch(statement, *arguments, doing=doing)
        return rows[0][0] if rows else None

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        connection = await self._pool.acquire()
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
        except (asyncio.CancelledError, TimeoutError):
            # The pool would wait for the end of a query whose answer may never come.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=CLOSE_SECONDS)
        return rows

    async def close(self) -> None:
        self._closed = True
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_SECONDS)
        except TimeoutError:
            self._pool.terminate()
