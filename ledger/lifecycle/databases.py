"""A tenant's database as a whole: whether it is there, how far its log goes, and its end."""

from ledger.lifecycle.log_copy import head_of
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")


async def drop_database(database: TenantDatabase) -> None:
    """Ends every session in it and drops it, then its roles; what is gone already is passed over."""
    connection = await database.server.connect()
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')
        roles = ", ".join(f'"{database.role(role)}"' for role in Role)
        await connection.execute(f"DROP ROLE IF EXISTS {roles}")
    except POSTGRES_ERRORS as error:
        doing = f"dropping the database of tenant {database.tenant_id!r}"
        raise store_error(error, doing, database.server.name) from error
    finally:
        await connection.close()


async def head_of_database(database: TenantDatabase) -> int:
    """The last position. Raises StoreUnavailable, StoreError."""
    try:
        async with database.lease(Role.READER) as connection:
            return await head_of(connection)
    except POSTGRES_ERRORS as error:
        raise store_error(error, "reading the head", database.server.name) from error


async def database_exists(database: TenantDatabase) -> bool:
    connection = await database.server.connect()
    try:
        there: bool = await connection.fetchval(_SQL["database_exists"], database.name)
        return there
    finally:
        await connection.close()
