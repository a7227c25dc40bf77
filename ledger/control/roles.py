"""A tenant's roles on its server, made before its database and before every migration of it: a
migration runs as the owner, who can grant to a role and cannot make one."""

from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")


async def ensure_roles(database: TenantDatabase) -> None:
    """Makes the roles that are missing, over a connection of its own as the configured user."""
    connection = await database.server.connect()
    try:
        # Not two migrators at once; the database's name is random hex.
        await connection.execute(_SQL["lock_roles"], database.name)
        await make_roles(connection, database)
    except POSTGRES_ERRORS as error:
        doing = f"making the roles of tenant {database.tenant_id!r}"
        raise store_error(error, doing, database.server.name) from error
    finally:
        await connection.close()


async def make_roles(connection: Connection, database: TenantDatabase) -> None:
    is_superuser = await connection.fetchval(_SQL["is_superuser"])
    for role in Role:
        name = database.role(role)
        if await connection.fetchval(_SQL["role_exists"], name):
            continue
        await connection.execute(f'CREATE ROLE "{name}" NOLOGIN')
        if not is_superuser:
            await connection.execute(f'GRANT "{name}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE')
    # The owner migrates the projection schema too, which belongs to the projector.
    await connection.execute(f'GRANT "{database.role(Role.PROJECTOR)}" TO "{database.role(Role.OWNER)}"')
