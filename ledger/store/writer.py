"""Writer: a connection in the writer role, with the statements it was asked for prepared."""

from typing import Any

import asyncpg

from ledger.store.server import Connection


class Writer:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prepared: dict[str, asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]] = {}

    @property
    def is_closed(self) -> bool:
        closed: bool = self._connection.is_closed()
        return closed

    async def call(self, statement: str, arguments: tuple[Any, ...]) -> Any:
        """The one row that `statement` answers."""
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = await self._connection.prepare(statement)
        [row] = await prepared.fetch(*arguments)
        return row

    async def close(self, seconds: float) -> None:
        await self._connection.close(timeout=seconds)

    def terminate(self) -> None:
        self._connection.terminate()
