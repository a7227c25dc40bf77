"""DatabaseServer: where a PostgreSQL is, and the one way to connect to a database on it.

Addresses are keyword arguments throughout: no DSN is ever put together from names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from ledger.errors import SettingsError, StoreError
from ledger.store.connections import Connection, Connections
from ledger.store.logins import Logins
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Connection", "DatabaseServer", "server_at_url"]

SERVER_VERSION_MIN = 17
"""The first whose pg_logical_emit_message can flush: without it, contended appends commit and then fail."""

_URL_OPTIONS = {"sslmode": "ssl", "ssl": "ssl"}


@dataclass(frozen=True)
class DatabaseServer:
    """`address` holds asyncpg's keyword arguments, the password among them: it is never shown."""

    name: str
    database: str
    address: dict[str, Any] = field(repr=False)
    connect_timeout_seconds: float = 10.0
    logins: Logins = field(default_factory=Logins)
    connections: Connections = field(default_factory=Connections, compare=False, repr=False)
    """To tenants' databases. What the control plane opens for itself is bounded by itself, and not here."""

    async def connect(
        self,
        database: str | None = None,
        *,
        role: str | None = None,
        login: str | None = None,
        **settings: str,
    ) -> Connection:
        """A new connection: as the configured user, or as one of a tenant's logins; its session in `role`
        from the start, where one is named (so RESET ROLE returns to it). Raises StoreUnavailable, and
        StoreError where the server is too old."""
        session = {"application_name": "daicho", "timezone": "UTC", "datestyle": "ISO", **settings}
        if role is not None:
            session["role"] = role
        address = self.address
        if login is not None:
            # An empty password and not none: asyncpg would look for one in PGPASSWORD and in ~/.pgpass.
            address = {**address, "user": login, "password": self.logins.password(login) or ""}
        try:
            connection = await asyncpg.connect(
                **address,
                database=database or self.database,
                timeout=self.connect_timeout_seconds,
                server_settings=session,
            )
        except asyncpg.InvalidCatalogNameError as error:
            if database is not None:
                raise store_error(error, "connecting", self.name) from error
            raise StoreError(
                f"There is no database {self.database!r} at {self.name}",
                fix="Correct the address, or create it (CREATE DATABASE); daicho makes tables in it and not "
                "the database itself",
            ) from error
        except POSTGRES_ERRORS as error:
            raise store_error(error, "connecting", self.name) from error
        if connection.get_server_version().major < SERVER_VERSION_MIN:  # it said so when it let us in
            found = connection.get_settings().server_version
            connection.terminate()
            raise StoreError(
                f"The server {self.name} is too old",
                expected=f"PostgreSQL {SERVER_VERSION_MIN} or newer",
                found=found,
                fix="Upgrade it; nothing was written",
            )
        return connection

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process has connections of its own. The address, a password in it, goes through a pipe.
        known = (self.name, self.database, self.address, self.connect_timeout_seconds, self.logins)
        return DatabaseServer, known

    def engine(
        self, connect: Callable[[], Awaitable[Connection]] | None = None, *, connections_max: int = 5
    ) -> AsyncEngine:
        """An SQLAlchemy engine whose connections are made by `connect` (default: this one's)."""
        # Here, because worker processes have no sessions and would wait for the import.
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import AsyncAdaptedQueuePool

        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect or self.connect,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections_max,
            max_overflow=0,
            pool_pre_ping=True,
        )


def server_at_url(
    url: str, *, connect_timeout_seconds: float, what: str = "DAICHO_DATABASE_URL"
) -> DatabaseServer:
    """The server that `url` (postgresql://user:password@host:port/database?sslmode=…) names. `what` says in
    errors where the URL stands; they never show it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"{what} cannot be read",
            expected="postgresql://user:password@host:port/database",
            fix="Percent-encode special characters of the password",
        ) from None
    if "@" in f"{parsed.host}{parsed.database}":
        # What stands there then is a part of the password, and would be shown as the host's name.
        raise SettingsError(
            f"{what} holds more than one '@'",
            expected="postgresql://user:password@host:port/database",
            fix="Percent-encode special characters of the password",
        )
    if not (parsed.query.get("host") or parsed.host):
        raise SettingsError(
            f"{what} names no host, and no place is guessed",
            expected="postgresql://user:password@host:port/database, or ?host=/folder/of/the/socket",
            fix="Name the host",
        )
    address: dict[str, Any] = {
        "host": parsed.query.get("host") or parsed.host,
        "port": parsed.port,
        "user": parsed.username,
        "password": parsed.password,
    }
    for option, value in parsed.query.items():
        if option in _URL_OPTIONS:
            address[_URL_OPTIONS[option]] = value
        elif option != "host":
            raise SettingsError(
                f"{what} has the option {option!r}",
                expected=f"no other option than host, {', '.join(sorted(_URL_OPTIONS))}",
                fix="Take it away",
            )
    return DatabaseServer(
        name=parsed.set(query={}).render_as_string(hide_password=True),
        database=parsed.database or parsed.username or "postgres",
        address={key: value for key, value in address.items() if value is not None},
        connect_timeout_seconds=connect_timeout_seconds,
    )
