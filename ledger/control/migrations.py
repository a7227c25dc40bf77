"""Migrations: applies the two Alembic histories, `control` and `tenant`, to their databases."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from ledger.control.roles import ensure_roles
from ledger.errors import MigrationNeeded, StoreError
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import DatabaseServer
from ledger.store.tenant_database import Role, TenantDatabase

History = Literal["control", "tenant"]
SCHEMA: dict[History, str] = {"control": "control", "tenant": "ledger"}
TURN_POLL_SECONDS = 0.01

_upgrading = threading.Lock()


def _config(history: History) -> Config:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(files("ledger.migrations").joinpath(history)))
    return config


def head_revision(history: History) -> str:
    """The revision this code was written for."""
    revision = ScriptDirectory.from_config(_config(history)).get_current_head()
    assert revision is not None
    return revision


async def upgrade_control(server: DatabaseServer) -> None:
    await _upgrade(server.engine(connections_max=1), "control", server.name)


async def upgrade_tenant(database: TenantDatabase) -> None:
    """Its roles, which a migration grants to, and then its schema, as the owner."""
    await ensure_roles(database)
    await upgrade_database(database)


async def upgrade_database(database: TenantDatabase) -> None:
    """The schema alone; the roles are there."""
    await _upgrade(owner_engine(database), "tenant", database.server.name)


async def control_revision(server: DatabaseServer) -> str | None:
    """The control database's revision; None where nothing was ever migrated."""
    return await _revision(server.engine(connections_max=1), "control", server.name)


async def tenant_revision(database: TenantDatabase) -> str | None:
    return await _revision(owner_engine(database), "tenant", database.server.name)


def require_head(found: str | None, history: History, whose: str) -> None:
    """Raises MigrationNeeded where a database is not at the revision of this code."""
    expected = head_revision(history)
    if found == expected:
        return
    is_newer = found is not None and found > expected  # revisions are four digits
    raise MigrationNeeded(
        f"{whose} is at another schema revision than this code",
        expected=f"revision {expected}",
        found=f"revision {found}" if found else "no revision",
        fix="Install the daicho that migrated it" if is_newer else "Run `daicho migrate`",
    )


def owner_engine(database: TenantDatabase) -> AsyncEngine:
    # Not TenantDatabase.connect: a database that is being made has no identity to assert yet.
    owner = database.role(Role.OWNER)
    return database.server.engine(
        lambda: database.server.connect(database.name, role=owner), connections_max=1
    )


async def _upgrade(engine: AsyncEngine, history: History, server_name: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = _config(history)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    try:
        async with _alone():
            await run_sync(engine, upgrade)
    except DBAPIError as error:
        raise StoreError(f"The {history} migration at {server_name} failed: {error.orig}") from error


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """One upgrade at a time in this process: Alembic keeps the one under way in module globals. Not
    an asyncio.Lock, for that serves one event loop alone."""
    while not _upgrading.acquire(blocking=False):  # noqa: ASYNC110 - an Event serves one loop, too
        await asyncio.sleep(TURN_POLL_SECONDS)
    try:
        yield
    finally:
        _upgrading.release()


async def _revision(engine: AsyncEngine, history: History, server_name: str) -> str | None:
    def revision(connection: Connection) -> str | None:
        options = {"version_table_schema": SCHEMA[history]}
        return MigrationContext.configure(connection, opts=options).get_current_revision()

    try:
        async with engine.connect() as connection:
            return await connection.run_sync(revision)
    except DBAPIError as error:
        raise StoreError(f"Reading the schema revision at {server_name} failed: {error.orig}") from error
    except POSTGRES_ERRORS as error:
        raise store_error(error, "reading the schema revision", server_name) from error
    finally:
        await engine.dispose()


async def run_sync(engine: AsyncEngine, work: Callable[[Connection], None]) -> None:
    """Runs `work` with one connection of `engine` and gives the engine up."""
    try:
        async with engine.connect() as connection:
            await connection.run_sync(work)
    finally:
        await engine.dispose()
