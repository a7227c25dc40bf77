"""Writer: a connection in the writer role, with the statements it was asked for prepared."""

from typing import Any

import asyncpg

from ledger.store.server import Connection


class Writer:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._prepared: dict[str, asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]] = {}

    async def call(self, statement: str, arguments: tuple[Any, ...]) -> Any:
        """The one row that `statement` answers."""
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = await self.connection.prepare(statement)
        [row] = await prepared.fetch(*arguments)
        return row
