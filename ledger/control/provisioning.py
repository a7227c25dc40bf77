"""Provisioning: makes a tenant's roles and database, each step repeatable, so that a half-made
tenant is finished by doing it again."""

import asyncpg

from ledger.control.migrations import upgrade_tenant
from ledger.control.roles import make_roles
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")


async def provision(connection: Connection, database: TenantDatabase) -> None:
    """Brings `database` into being: roles, database, schema, identity. `connection` is to the
    control database, as the configured user, outside any transaction."""
    try:
        await make_roles(connection, database)
        await _make_database(connection, database)
        await upgrade_tenant(database)
        await _claim(database)
    except POSTGRES_ERRORS as error:
        raise store_error(error, f"making tenant {database.tenant_id!r}", database.server.name) from error


async def _make_database(connection: Connection, database: TenantDatabase) -> None:
    if not await connection.fetchval(_SQL["database_exists"], database.name):
        await connection.execute(
            f'CREATE DATABASE "{database.name}" OWNER "{database.role(Role.OWNER)}" TEMPLATE template0 '
            "ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
        )
    await connection.execute(f'REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC')
    roles = ", ".join(f'"{database.role(role)}"' for role in Role)
    await connection.execute(f'GRANT CONNECT ON DATABASE "{database.name}" TO {roles}')


async def _claim(database: TenantDatabase) -> None:
    """Writes whose database this is; an identity that is there is asserted, never replaced."""
    owner = await database.server.connect(database.name, role=database.role(Role.OWNER))
    try:
        await owner.execute(_SQL["set_identity"], database.tenant_id)
    finally:
        await owner.close()
    connection: asyncpg.Connection = await database.connect(Role.READER)
    await connection.close()
