"""Migrations: applies the two Alembic histories, `control` and `tenant`, to their databases."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Literal

import asyncpg
from alembic import command
from alembic.config import Config
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
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"

_upgrading = threading.Lock()


def _config(history: History) -> Config:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(files("ledger.migrations").joinpath(history)))
    return config


@cache
def _revisions(history: History) -> tuple[str, ...]:
    """The newest first."""
    script = ScriptDirectory.from_config(_config(history))
    return tuple(revision.revision for revision in script.walk_revisions())


def head_revision(history: History) -> str:
    """The revision this code was written for."""
    return _revisions(history)[0]


async def upgrade_control(server: DatabaseServer) -> None:
    await _upgrade(server.engine(connections_max=1), "control", server.name)


async def upgrade_tenant(database: TenantDatabase) -> None:
    """Its roles, which a migration grants to, and then its schema, as the owner."""
    await ensure_roles(database)
    await upgrade_database(database)


async def upgrade_database(database: TenantDatabase) -> None:
    """The schema alone; the roles are there. In one transaction and as one script: hundreds of tenants are
    migrated at once, and Alembic itself can be at work on one database at a time."""
    server = database.server
    connection = await server.connect(database.name, role=database.role(Role.OWNER))
    try:
        async with connection.transaction():
            # Two migrators of one database run one after the other; the second finds it done.
            await connection.execute(_LOCK, "daicho.migrate.tenant")
            found = await revision_of(connection, "tenant")
            require_known(found, f"The database {database.name}")
            if found != head_revision("tenant"):
                async with _alone():
                    script = upgrade_script("tenant", found)
                await connection.execute(script)
    except POSTGRES_ERRORS as error:
        doing = f"migrating tenant {database.tenant_id!r}" if database.tenant_id else "making a template"
        raise store_error(error, doing, server.name) from error
    finally:
        await connection.close()


@cache
def upgrade_script(history: History, found: str | None) -> str:
    """What Alembic would run to bring a database at revision `found` to this code's, as one text. Not while
    Alembic is at work elsewhere in this process."""
    config = _config(history)
    config.output_buffer = StringIO()
    command.upgrade(config, f"{found}:head" if found else "head", sql=True)
    return f"CREATE SCHEMA IF NOT EXISTS {SCHEMA[history]};\n{config.output_buffer.getvalue()}"


async def control_revision(server: DatabaseServer) -> str | None:
    """The control database's revision; None where nothing was ever migrated."""
    connection = await server.connect()
    try:
        return await revision_of(connection, "control")
    except POSTGRES_ERRORS as error:
        raise store_error(error, "reading the schema revision", server.name) from error
    finally:
        await connection.close()


async def tenant_revision(database: TenantDatabase) -> str | None:
    """The tenant database's revision. It is read as the reader, who is let in since 0007; an older one
    tells it to its owner alone."""
    try:
        async with database.lease(Role.READER) as reader:
            return await revision_of(reader, "tenant")
    except (asyncpg.InsufficientPrivilegeError, StoreError):
        owner = await database.server.connect(database.name, role=database.role(Role.OWNER))
        try:
            return await revision_of(owner, "tenant")
        except POSTGRES_ERRORS as error:
            raise store_error(error, "reading the schema revision", database.server.name) from error
        finally:
            await owner.close()
    except POSTGRES_ERRORS as error:
        raise store_error(error, "reading the schema revision", database.server.name) from error


async def revision_of(connection: asyncpg.Connection, history: History) -> str | None:
    """The revision of the database that the connection is to; None where it has no schema of this history."""
    table = f"{SCHEMA[history]}.alembic_version"
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
        return None
    revision: str | None = await connection.fetchval(f"SELECT version_num FROM {table}")  # noqa: S608
    return revision


def require_known(found: str | None, whose: str) -> None:
    """Raises MigrationNeeded where a tenant's database is at a revision that this code does not know."""
    if found is not None and found not in _revisions("tenant"):
        require_head(found, "tenant", whose)


def require_usable(found: str | None, whose: str) -> None:
    """Raises MigrationNeeded where a tenant's database is at another revision than this code's or the one
    before: a migration first adds what the next code needs, so that both codes work while tenants are
    migrated one by one (expand), and takes away only what no code has used since then (contract)."""
    if found not in _revisions("tenant")[:2]:
        require_head(found, "tenant", whose)


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


async def run_sync(engine: AsyncEngine, work: Callable[[Connection], None]) -> None:
    """Runs `work` with one connection of `engine` and gives the engine up."""
    try:
        async with engine.connect() as connection:
            await connection.run_sync(work)
    finally:
        await engine.dispose()
