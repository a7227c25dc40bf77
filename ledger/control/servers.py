"""Database servers: those that tenants live on, from the catalogue, each opened when it is first needed.

The server of the settings is called `control`: the control database lies there, and its address stands in
the settings alone. Any other has its address in the catalogue, without a password. That is in the environment
of whoever connects, as DAICHO_SERVER_<NAME>_PASSWORD, or in a file that DAICHO_SERVER_<NAME>_PASSWORD_FILE
names; where there is neither, the server must ask for none.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ledger.control.audit import record_act
from ledger.control.catalogue import SERVER_OF_THE_SETTINGS, Catalogue, TenantRecord
from ledger.control.placement import ServerLoad, server_not_found
from ledger.errors import InvalidName, ServerConflict, SettingsError, StoreError
from ledger.settings import read_secret_file
from ledger.store.connections import Connections
from ledger.store.postgres_errors import POSTGRES_ERRORS, store_error
from ledger.store.server import DatabaseServer, server_at_url
from ledger.store.statements import load_statements
from ledger.store.tenant_database import TenantDatabase

TENANTS_MAX = 1_000_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_SQL = load_statements("ledger.control", "servers.sql")


@dataclass(frozen=True)
class ServerRecord:
    """`address` None: the server of the settings. `tenants` counts those that are not deleted."""

    server_name: str
    address: str | None
    tenants_max: int | None
    accepts_new_tenants: bool
    created_at: datetime
    tenants: int

    @property
    def load(self) -> ServerLoad:
        return ServerLoad(self.server_name, self.accepts_new_tenants, self.tenants_max, self.tenants)


class DatabaseServers:
    """Of one open ledger. `control` is open already; what it was opened with holds for the others too."""

    def __init__(self, control: DatabaseServer, catalogue: Catalogue) -> None:
        self.control = control
        self._catalogue = catalogue
        self._opened = {SERVER_OF_THE_SETTINGS: control}

    async def database(self, tenant: TenantRecord) -> TenantDatabase:
        """The tenant's database, on the server that the catalogue says it lives on."""
        return tenant.database_on(await self.get(tenant.server_name))

    async def get(self, name: str) -> DatabaseServer:
        """Raises ServerNotFound, SettingsError. Nothing is connected yet."""
        if name not in self._opened:
            record = await self.find(name)
            assert record.address is not None, "the server of the settings is open from the start"
            self._opened.setdefault(name, self._at(name, record.address))
        return self._opened[name]

    def opened(self) -> list[DatabaseServer]:
        return list(self._opened.values())

    async def list(self) -> list[ServerRecord]:
        return [ServerRecord(*row) for row in await self._catalogue.ask(_SQL["list"])]

    async def find(self, name: str) -> ServerRecord:
        records = {record.server_name: record for record in await self.list()}
        if name not in records:
            raise server_not_found(name, list(records))
        return records[name]

    async def add(
        self,
        name: str,
        address: str,
        *,
        tenants_max: int | None = None,
        accepts_new_tenants: bool = True,
        by: str | None = None,
        reason: str | None = None,
    ) -> ServerRecord:
        """Adds the server at `address` (postgresql://user@host:port/database), after having connected and
        found that it can hold tenants. Raises InvalidName, SettingsError, ServerConflict, StoreError,
        StoreUnavailable; nothing is written then."""
        _check_name(name)
        _check_tenants_max(tenants_max)
        await _require_fit(self._at(name, address))
        async with self._catalogue.changing() as connection:
            added = await connection.execute(_SQL["add"], name, address, tenants_max, accepts_new_tenants)
            if added != "INSERT 0 1":
                raise ServerConflict(
                    f"A server named {name}, or one at this address, is there already",
                    fix="`daicho server list` shows all; nothing was changed",
                )
            details = {"address": address, "tenants_max": tenants_max, "accepts": accepts_new_tenants}
            await record_act(connection, by, "server.added", f"server:{name}", reason=reason, details=details)
        return await self.find(name)

    async def change(
        self,
        name: str,
        *,
        tenants_max: int | None = None,
        accepts_new_tenants: bool | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> ServerRecord:
        """Changes what is given. Tenants that are there stay, also where they are more than `tenants_max`."""
        _check_tenants_max(tenants_max)
        await self.find(name)
        async with self._catalogue.changing() as connection:
            await connection.execute(_SQL["change"], name, tenants_max, accepts_new_tenants)
            details = {"tenants_max": tenants_max, "accepts": accepts_new_tenants}
            told = {key: value for key, value in details.items() if value is not None}
            await record_act(connection, by, "server.changed", f"server:{name}", reason=reason, details=told)
        return await self.find(name)

    async def remove(self, name: str, *, by: str | None = None, reason: str | None = None) -> None:
        """Takes a server out of the catalogue, where no tenant was ever left on it."""
        record = await self.find(name)
        if record.address is None:
            raise ServerConflict(
                f"{name} is the server of the settings, which the control database lies on",
                fix="Close it to new tenants instead: `daicho server set control --refuse`",
            )
        async with self._catalogue.changing() as connection:
            if await connection.execute(_SQL["remove"], name) != "DELETE 1":
                raise ServerConflict(
                    f"Tenants live, or lived, on server {name}",
                    found=f"{record.tenants} tenants",
                    fix="Move them first; records of deleted ones still name it, then close it instead",
                )
            await record_act(connection, by, "server.removed", f"server:{name}", reason=reason)
        self._opened.pop(name, None)

    async def close(self) -> None:
        """Lets go of every idle connection of this event loop."""
        for server in self.opened():
            await server.connections.close_idle()

    def _at(self, name: str, address: str) -> DatabaseServer:
        if not address.startswith("postgresql://"):
            raise SettingsError(
                f"The address of server {name} is not a PostgreSQL URL",
                expected="postgresql://user@host:port/database",
                fix="Correct it; nothing was written",
            )
        control = self.control
        found = server_at_url(
            address,
            what=f"The address of server {name}",
            connect_timeout_seconds=control.connect_timeout_seconds,
        )
        if found.address.get("password") is not None:
            raise SettingsError(
                f"The address of server {name} holds a password, which the catalogue never keeps",
                expected="postgresql://user@host:port/database",
                fix=f"Take it out of the address and set {password_variable(name)}; nothing was written",
            )
        # An empty password and not none: asyncpg would look for one in PGPASSWORD and in ~/.pgpass.
        with_password = {**found.address, "password": server_password(name, os.environ) or ""}
        return DatabaseServer(
            name=f"{name} ({found.name})",
            database=found.database,
            address=with_password,
            connect_timeout_seconds=control.connect_timeout_seconds,
            logins=control.logins,
            connections=Connections(control.connections.limit, control.connections.wait_seconds, name),
        )


def password_variable(name: str) -> str:
    return f"DAICHO_SERVER_{name.upper()}_PASSWORD"


def server_password(name: str, environment: Mapping[str, str]) -> str | None:
    variable = password_variable(name)
    value, path = environment.get(variable), environment.get(f"{variable}_FILE")
    if value is not None and path is not None:
        raise SettingsError(f"Both {variable} and {variable}_FILE are set", fix="Unset one of them")
    return read_secret_file(f"{variable}_FILE", Path(path)) if path is not None else value


async def _require_fit(server: DatabaseServer) -> None:
    connection = await server.connect()
    try:
        found: Any = await connection.fetchrow(_SQL["fit"])
    except POSTGRES_ERRORS as error:
        raise store_error(error, "looking at the new server", server.name) from error
    finally:
        await connection.close()
    if not found["may_make_tenants"]:
        raise StoreError(
            f"The user of server {server.name} may not make tenants",
            expected="the rights CREATEDB and CREATEROLE",
            fix="ALTER ROLE … CREATEDB CREATEROLE; nothing was written",
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:60]!r} is not a server name",
            expected="1 to 40 of a-z 0-9 _, beginning with a letter",
            fix="Correct the name; nothing was written",
        )


def _check_tenants_max(tenants_max: int | None) -> None:
    if tenants_max is not None and not 0 <= tenants_max <= TENANTS_MAX:
        raise InvalidName(
            f"{tenants_max} is not a number of tenants", expected=f"0 to {TENANTS_MAX}", fix="Correct it"
        )
