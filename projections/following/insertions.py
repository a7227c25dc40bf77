"""Insertions: which databases were written to since the last look, from counters that PostgreSQL keeps.

One statement per server answers for all its databases, so that hundreds of idle tenants cost nothing. A
wake-up says the same sooner; this is for those that got lost. A counter may come late by some seconds, and
never stays behind.
"""

import asyncio
from collections.abc import Iterable

from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements
from ledger.store.tenant_database import TenantDatabase

ASK_SECONDS_MAX = 10.0
_SQL = load_statements("projections.following", "queries.sql")


class Insertions:
    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._seen: dict[str, int] = {}

    async def moved(self, databases: Iterable[TenantDatabase]) -> set[str]:
        """The tenants whose databases had rows inserted since the last call; at the first, all.
        Raises StoreUnavailable."""
        by_server: dict[str, list[TenantDatabase]] = {}
        for database in databases:
            by_server.setdefault(database.server.name, []).append(database)
        moved: set[str] = set()
        for of_server in by_server.values():
            counts = await self._counts(of_server[0].server, [database.name for database in of_server])
            for database in of_server:
                if self._seen.get(database.name) != counts.get(database.name):
                    moved.add(database.tenant_id)
            self._seen.update(counts)
        return moved

    async def close(self) -> None:
        for connection in self._connections.values():
            connection.terminate()
        self._connections.clear()

    async def _counts(self, server: DatabaseServer, names: list[str]) -> dict[str, int]:
        connection = self._connections.get(server.name)
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                if connection is None or connection.is_closed():
                    connection = self._connections[server.name] = await server.connect()
                return {row[0]: row[1] for row in await connection.fetch(_SQL["insertions"], names)}
        except POSTGRES_ERRORS as error:
            raise store_error(error, "looking at counters", server.name) from error
