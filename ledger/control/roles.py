"""A tenant's roles on its server, made before its database and before every migration of it: a
migration runs as the owner, who can grant to a role and cannot make one.

All but one are logins, one per purpose; as the owner nobody logs in."""

from ledger.store.logins import Logins
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase

_SQL = load_statements("ledger.control", "queries.sql")


async def ensure_roles(database: TenantDatabase) -> None:
    """Makes the roles that are missing and sets the logins' passwords, over a connection of its own as
    the configured user."""
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


async def make_roles(connection: Connection, database: TenantDatabase, *, logins: bool = True) -> None:
    """In one round trip and one transaction. `logins` False makes the roles of a template, as which nobody
    shall ever log in."""
    names = [database.role(role) for role in Role]
    is_superuser, present = await connection.fetchrow(_SQL["roles_present"], names)
    commands = []
    for role in Role:
        name = database.role(role)
        verb = "ALTER" if name in present else "CREATE"
        attributes = _login(database.server.logins, name) if logins and role is not Role.OWNER else "NOLOGIN"
        commands.append(f'{verb} ROLE "{name}" {attributes}')
        if verb == "CREATE" and not is_superuser:
            commands.append(f'GRANT "{name}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE')
    # The owner migrates the projection schema too, which belongs to the projector.
    commands.append(f'GRANT "{database.role(Role.PROJECTOR)}" TO "{database.role(Role.OWNER)}"')
    await connection.execute(";\n".join(commands))


def _login(logins: Logins, name: str) -> str:
    verifier = logins.verifier(name)  # base64 and punctuation without quotes
    return "LOGIN PASSWORD NULL" if verifier is None else f"LOGIN PASSWORD '{verifier}'"
