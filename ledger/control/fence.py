"""The fence: keeps writers out of a tenant's database, in the database's own server.

Writers are the logins that append, erase and collect garbage. Each is allowed no connection at all, those
that it has are ended between two appends, and whoever reads goes on. Nothing is asked of anybody's good
manners: a process that knows nothing of it meets a closed door, asks the catalogue why, and hears
TenantSuspended or TenantMoving.
"""

from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

WRITERS = (Role.WRITER, Role.ERASER, Role.COLLECTOR)
END_MS = 10_000
LOCK_WAIT = "30s"

_SQL = load_statements("ledger.control", "fence.sql")


async def keep_writers_out(database: TenantDatabase) -> None:
    """When this returns, nothing more is appended until `let_writers_in`. May be repeated. Raises
    StoreUnavailable, where something holds the log for too long among it."""
    connection = await database.server.connect(database.name, lock_timeout=LOCK_WAIT)
    try:
        for role in WRITERS:
            await connection.execute(f'ALTER ROLE "{database.role(role)}" CONNECTION LIMIT 0')
        async with connection.transaction():
            # Appends under way are waited for, and none can begin: what is ended below does nothing just now.
            await connection.execute(_SQL["hold_head"])
            logins = [database.role(role) for role in WRITERS]
            await connection.fetch(_SQL["end_sessions"], database.name, logins, END_MS)
    except POSTGRES_ERRORS as error:
        doing = f"keeping writers out of tenant {database.tenant_id!r}"
        raise store_error(error, doing, database.server.name) from error
    finally:
        await connection.close()


async def let_writers_in(database: TenantDatabase) -> None:
    connection = await database.server.connect(database.name)
    try:
        for role in WRITERS:
            await connection.execute(f'ALTER ROLE "{database.role(role)}" CONNECTION LIMIT -1')
    except POSTGRES_ERRORS as error:
        doing = f"letting writers into tenant {database.tenant_id!r}"
        raise store_error(error, doing, database.server.name) from error
    finally:
        await connection.close()


async def are_writers_out(connection: Connection, database: TenantDatabase) -> bool:
    """Whether every writing login is kept out."""
    logins = [database.role(role) for role in WRITERS]
    kept_out: int = await connection.fetchval(_SQL["kept_out"], logins)
    return kept_out == len(logins)
