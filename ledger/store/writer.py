"""Writer: a connection in the writer role, with the statements it was asked for prepared."""

from typing import Any

import asyncpg

from ledger.store.server import Connection
from ledger.store.wire import Statement, Wire


class Writer:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wire = Wire(connection)
        self._prepared: dict[str, asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]] = {}
        self.on_wire: dict[str, Statement] = {}

    async def call(self, statement: str, arguments: tuple[Any, ...]) -> Any:
        """The one row that `statement` answers, through asyncpg."""
        [row] = await (await self._prepare(statement)).fetch(*arguments)
        return row

    async def prepare_on_wire(self, statement: str) -> None:
        if statement not in self.on_wire:
            prepared = await self._prepare(statement)
            self.on_wire[statement] = Statement(prepared.get_name(), len(prepared.get_parameters()))

    async def _prepare(self, statement: str) -> "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]":
        if statement not in self._prepared:
            self._prepared[statement] = await self.connection.prepare(statement)
        return self._prepared[statement]
