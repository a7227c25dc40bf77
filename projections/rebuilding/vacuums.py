"""Vacuums: autovacuums of the tables that a rebuild replaces.

The exchange has to wait until none is at work there, and PostgreSQL ends one only for somebody who has waited
for a second. It then goes on to the next table, so ending them all may take a second for each. So a rebuild
begins with that when it begins to work: what they do is for tables that are to go.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg

from ledger.store.postgres_errors import POSTGRES_ERRORS
from ledger.store.server import Connection
from ledger.store.tenant_database import Role, TenantDatabase
from projections.rebuilding.new_tables import NewTable, lock_against_vacuum

VACUUM_SECONDS_MAX = 5
LOOK_SECONDS = 1.0

NOT_HAD = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


@asynccontextmanager
async def ending_vacuums(database: TenantDatabase, tables: Sequence[NewTable]) -> AsyncIterator[None]:
    """While this lasts, autovacuums of the live tables are ended soon after they began."""
    connection = await database.connect(Role.PROJECTOR)
    ending = asyncio.create_task(_end_them(connection, tables))
    try:
        yield
    finally:
        ending.cancel()
        await asyncio.wait({ending})
        connection.terminate()
        if not ending.cancelled():
            ending.result()


async def _end_them(connection: Connection, tables: Sequence[NewTable]) -> None:
    with suppress(*POSTGRES_ERRORS):  # the exchange then waits by itself
        while True:
            await connection.execute("BEGIN")
            # Not of the new tables, whose indexes are made meanwhile: that is kept apart by the same lock.
            await _lock(connection, lock_against_vacuum(tables, new_ones=False))
            await connection.execute("ROLLBACK")
            await asyncio.sleep(LOOK_SECONDS)


async def keep_vacuum_off(connection: Connection, tables: Sequence[NewTable]) -> bool:
    """Keeps vacuums from tables, live and new, to the end of the transaction that `connection` is in. False
    where one could not be ended in time; the transaction has failed then."""
    return await _lock(connection, lock_against_vacuum(tables, new_ones=True))


async def _lock(connection: Connection, statement: str) -> bool:
    try:
        await connection.execute(
            f"SET LOCAL lock_timeout = '{VACUUM_SECONDS_MAX}s'; {statement}; SET LOCAL lock_timeout = 0"
        )
    except NOT_HAD:
        return False
    return True
