"""Provisioning: makes a tenant's roles and database, each step repeatable, so that a half-made
tenant is finished by doing it again."""

from ledger.control.migrations import head_revision, upgrade_tenant
from ledger.control.roles import make_roles
from ledger.control.template import adopt, ensure_template
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")


async def provision(database: TenantDatabase) -> None:
    """Brings `database` into being: roles, database, schema, identity. The caller holds the tenant's lock."""
    try:
        template = await ensure_template(database.server)
        connection = await database.server.connect()
        try:
            await make_roles(connection, database)
            await _make_database(connection, database, template)
        finally:
            await connection.close()
        if await _claim(database) != head_revision("tenant"):
            await upgrade_tenant(database)  # begun by another version
        async with database.lease(Role.READER):
            pass  # as whoever will work in it: the login works, and the identity is asserted
    except POSTGRES_ERRORS as error:
        raise store_error(error, f"making tenant {database.tenant_id!r}", database.server.name) from error


async def _make_database(connection: Connection, database: TenantDatabase, template: str) -> None:
    if not await connection.fetchval(_SQL["database_exists"], database.name):
        owner = database.role(Role.OWNER)
        await connection.execute(f'CREATE DATABASE "{database.name}" OWNER "{owner}" TEMPLATE "{template}"')
    roles = ", ".join(f'"{database.role(role)}"' for role in Role)
    await connection.execute(
        f'REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC; '
        f'GRANT CONNECT ON DATABASE "{database.name}" TO {roles}'
    )


async def _claim(database: TenantDatabase) -> str | None:
    """Turns the copy over to the tenant's roles and writes whose it is; an identity that is there stays.
    Returns the revision."""
    connection = await database.server.connect(database.name)
    try:
        await adopt(connection, database)
        await connection.execute(_SQL["set_identity"], database.tenant_id)
        revision: str | None = await connection.fetchval(_SQL["revision"])
        return revision
    finally:
        await connection.close()
