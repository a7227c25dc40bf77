"""The template: an empty tenant database at this code's revision, one on each server, that new tenants'
databases are copies of. Migrating each of them from the start took three times as long.

It is named after the revision and a digest of the migrations, so code of another version makes its own. The
roles in it are its own, and nobody logs in as them; a copy is turned over to its tenant's roles (`adopt`),
which is done when PostgreSQL's list of dependencies names none of the template's roles any more. The doctor
holds a copy against the same migrations as any other database.
"""

import hashlib
from functools import cache
from importlib.resources import files

from ledger.control.migrations import head_revision, upgrade_database
from ledger.control.roles import make_roles
from ledger.errors import StoreError
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection, DatabaseServer
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "template.sql")
_PURPOSES = [role.value for role in Role]


@cache
def template_name() -> str:
    digest = hashlib.sha256()
    migrations = files("ledger.migrations.tenant")
    for folder in ("sql", "versions"):
        for entry in sorted(migrations.joinpath(folder).iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith((".sql", ".py")):
                digest.update(entry.name.encode() + b"\x00" + entry.read_bytes() + b"\x00")
    return f"daicho_template_{head_revision('tenant')}_{digest.hexdigest()[:16]}"


async def ensure_template(server: DatabaseServer) -> str:
    """The name of the server's template, made where there is none yet."""
    name = template_name()
    connection = await server.connect()
    try:
        if not await connection.fetchval(_SQL["state"], name):
            await connection.execute(_SQL["lock_template"], name)
            if not await connection.fetchval(_SQL["state"], name):
                await _make(connection, TenantDatabase("", name, server))
    except POSTGRES_ERRORS as error:
        raise store_error(error, "making the template of new tenants", server.name) from error
    finally:
        await connection.close()
    return name


async def drop_other_templates(server: DatabaseServer) -> None:
    connection = await server.connect()
    try:
        for row in await connection.fetch(_SQL["others"], template_name()):
            await connection.execute(_SQL["lock_template"], row["datname"])
            await _drop(connection, TenantDatabase("", row["datname"], server))
    except POSTGRES_ERRORS as error:
        raise store_error(error, "dropping templates of other revisions", server.name) from error
    finally:
        await connection.close()


async def adopt(connection: Connection, database: TenantDatabase) -> None:
    """Turns the copy that `connection` is in over to the tenant's roles; nothing where that is done."""
    commands = await connection.fetchval(_SQL["adoption"], database.name, _PURPOSES)
    if not commands:
        return
    async with connection.transaction():
        await connection.execute(commands)
        left = await connection.fetch(_SQL["left_over"])
        if left:
            raise StoreError(
                "A copy of the template could not be turned over to its tenant",
                found="; ".join(f"{row['role']} in {row['catalogue']} ({row['how']})" for row in left),
                fix="A migration made something that ledger/control/template.sql does not know. Report it",
            )


async def _make(connection: Connection, template: TenantDatabase) -> None:
    await _drop(connection, template)
    await make_roles(connection, template, logins=False)
    # While it is made it belongs to the owner's role, as a tenant's does: so the schema public does, too.
    # A copy's adoption (REASSIGN OWNED) would take along the template itself, were that left so.
    await connection.execute(
        f'CREATE DATABASE "{template.name}" OWNER "{template.role(Role.OWNER)}" TEMPLATE template0 '
        "ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    await connection.execute(f'REVOKE ALL ON DATABASE "{template.name}" FROM PUBLIC')
    await upgrade_database(template)
    # The last step, which also tells that it is whole; a database that somebody is in cannot be copied.
    await connection.execute(
        f'ALTER DATABASE "{template.name}" OWNER TO CURRENT_USER; '
        f'ALTER DATABASE "{template.name}" ALLOW_CONNECTIONS false'
    )


async def _drop(connection: Connection, template: TenantDatabase) -> None:
    await connection.execute(f'DROP DATABASE IF EXISTS "{template.name}" WITH (FORCE)')
    roles = ", ".join(f'"{template.role(role)}"' for role in Role)
    await connection.execute(f"DROP ROLE IF EXISTS {roles}")
