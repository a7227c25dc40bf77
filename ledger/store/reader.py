"""Reader: a tenant's reads, each with a connection leased in the reader role, which may only SELECT."""

import asyncio
import contextlib
from typing import Any

import asyncpg

from ledger.errors import InvalidName, LedgerClosed
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.tenant_database import Role, TenantDatabase

CLOSE_SECONDS = 5.0
READ_SECONDS_MAX = 60.0
"""A page takes milliseconds. Whoever waits longer waits for a network that lost the way."""


class Reader:
    def __init__(self, database: TenantDatabase, connections_max: int) -> None:
        self.database = database
        self._connections_max = connections_max
        self._turns = asyncio.Semaphore(connections_max)
        self._closed = False
        self._connections = database.server.connections
        self._connections.join(database.name)

    @classmethod
    async def open(cls, database: TenantDatabase, *, connections_max: int) -> "Reader":
        """Connects when it is first used; whoever asks while all its connections are busy waits."""
        return cls(database, connections_max)

    async def fetch(self, statement: str, *arguments: Any, doing: str = "reading") -> list[Any]:
        self._require_open()  # close() keeps every turn: whoever waited for one would wait in vain
        try:
            async with asyncio.timeout(READ_SECONDS_MAX), self._turns:
                self._require_open()
                async with self.database.lease(Role.READER) as connection:
                    rows: list[Any] = await connection.fetch(statement, *arguments)
                    return rows
        except POSTGRES_ERRORS as error:
            if isinstance(error, (ValueError, asyncpg.DataError)):
                raise _no_value(error, doing) from None
            raise store_error(error, doing, self.database.server.name) from error

    async def fetchval(self, statement: str, *arguments: Any, doing: str = "reading") -> Any:
        rows = await self.fetch(statement, *arguments, doing=doing)
        return rows[0][0] if rows else None

    def _require_open(self) -> None:
        if self._closed:
            raise LedgerClosed("The ledger is closed", fix="Read while it is open")

    async def close(self) -> None:
        """Reads that are under way are waited for, some seconds; then the idle connections go."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for _ in range(self._connections_max):
                    await self._turns.acquire()
        self._connections.leave(self.database.name)
        for connections in {self._connections, self.database.server.connections}:  # two, where it moved
            await connections.close_idle(self.database.name)


def _no_value(error: BaseException, doing: str) -> InvalidName:
    """asyncpg and PostgreSQL both say DataError of what they cannot take."""
    return InvalidName(
        f"What was asked for cannot stand in PostgreSQL: {ascii(str(error))[1:-1][:200]} (while {doing})",
        expected="text without U+0000 and lone surrogates, numbers within their range",
        fix="Correct what was asked for",
    )
