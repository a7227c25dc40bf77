"""The body of both `migrations/*/env.py`: runs a history on the connection it is handed, or, from
the alembic command line, on the databases that the settings and the catalogue name."""

import asyncio
from typing import Any

from sqlalchemy import MetaData, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.control.catalogue import NOT_THERE, Catalogue
from ledger.control.migrations import (
    SCHEMA,
    History,
    control_revision,
    owner_engine,
    require_head,
    run_sync,
)
from ledger.control.roles import ensure_roles
from ledger.control.server import open_server
from ledger.control.servers import DatabaseServers
from ledger.settings import Settings
from ledger.store.server import DatabaseServer


def run_environment(context: Any, history: History, metadata: MetaData) -> None:
    """`context` is Alembic's. `-x tenant=ID` picks one tenant."""

    def migrate(connection: Connection) -> None:
        _migrate(connection, context, history, metadata)

    async def from_command_line() -> None:
        only = context.get_x_argument(as_dictionary=True).get("tenant")
        async with open_server(Settings()) as server:
            for engine in await _engines(server, history, only):
                await run_sync(engine, migrate)

    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
    elif context.is_offline_mode():
        _write_script(context, history)
    else:
        asyncio.run(from_command_line())


async def _engines(server: DatabaseServer, history: History, only: str | None) -> list[AsyncEngine]:
    if history == "control":
        return [server.engine(connections_max=1)]
    # Not upgraded from here: Alembic knows one environment at a time, and would forget this one.
    revision = await control_revision(server)
    if revision is None:
        return []  # no catalogue, so no tenants
    require_head(revision, "control", "The control database")
    async with Catalogue.open(server) as catalogue:
        # A tenant whose making was interrupted may have no database yet; create_tenant_db finishes it.
        made = [tenant for tenant in await catalogue.list() if tenant.status not in NOT_THERE]
        tenants = [await catalogue.get(only)] if only else made
        servers = DatabaseServers(server, catalogue)
        databases = [await servers.database(tenant) for tenant in tenants]
    for database in databases:
        await ensure_roles(database)
    return [owner_engine(database) for database in databases]


def _write_script(context: Any, history: History) -> None:
    # With asyncpg's dialect, which leaves a percent sign in a statement as it is.
    context.configure(
        dialect_name="postgresql+asyncpg", version_table_schema=SCHEMA[history], transactional_ddl=False
    )
    context.run_migrations()


def _migrate(connection: Connection, context: Any, history: History, metadata: MetaData) -> None:
    schema = SCHEMA[history]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=schema,
        include_schemas=True,
    )
    with context.begin_transaction():
        # Two migrators of one database run one after the other; the second finds it done.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(lock, {"name": f"daicho.migrate.{history}"})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        context.run_migrations()
    connection.commit()
