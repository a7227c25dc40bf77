"""The PostgreSQL of the settings: the configured one, or the embedded one, started."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg

from ledger.control.catalogue import SERVER_OF_THE_SETTINGS
from ledger.control.embedded import EmbeddedPostgres
from ledger.settings import Settings
from ledger.store.connections import Connections
from ledger.store.logins import Logins
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import DatabaseServer, server_at_url
from ledger.store.statements import load_statements

CONTROL_DATABASE = "daicho_control"
_SQL = load_statements("ledger.control", "queries.sql")


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[DatabaseServer]:
    """The server whose default database is the control database; embedded, it stops with its last user."""
    if settings.database_url is not None:
        server = server_at_url(
            settings.database_url.get_secret_value(),
            connect_timeout_seconds=settings.connect_timeout_seconds,
        )
        yield replace(
            server, logins=logins_of(settings, server.address.get("password")), connections=_limit(settings)
        )
        return
    embedded = await asyncio.to_thread(EmbeddedPostgres.start, settings.home)
    address = embedded.connect_kwargs(CONTROL_DATABASE)
    del address["database"]  # each connection names its own
    try:
        server = DatabaseServer(
            name=f"embedded PostgreSQL in {settings.home}",
            database=CONTROL_DATABASE,
            address=address,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            logins=logins_of(settings, None),
            connections=_limit(settings),
        )
        await _ensure_control_database(server)
        yield server
    finally:
        await asyncio.to_thread(embedded.close)


def logins_of(settings: Settings, password: str | None) -> Logins:
    """Keyed by DAICHO_LOGIN_KEY; else by the configured user's `password`. Where that user needs none (the
    embedded server), the tenants' logins need none either."""
    key = settings.secret_login_key()
    if key is not None:
        return Logins(key.encode())
    return Logins() if password is None else Logins.from_password(password)


def _limit(settings: Settings) -> Connections:
    return Connections(
        settings.server_connections_max, settings.connection_wait_seconds, SERVER_OF_THE_SETTINGS
    )


async def _ensure_control_database(server: DatabaseServer) -> None:
    connection = await server.connect("postgres")
    try:
        if not await connection.fetchval(_SQL["database_exists"], CONTROL_DATABASE):
            await connection.execute(f"CREATE DATABASE {CONTROL_DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass  # another process was faster
    except POSTGRES_ERRORS as error:
        raise store_error(error, "making the control database", server.name) from error
    finally:
        await connection.close()
