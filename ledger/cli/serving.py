"""`daicho server`: the PostgreSQL servers that tenants live on."""

from collections.abc import Callable
from typing import Any

import click

from ledger.cli import render
from ledger.cli.running import json_option, open_ledger, out, print_json, runs_async
from ledger.control.servers import ServerRecord, password_variable

_tenants_max = click.option("--tenants-max", type=click.IntRange(0), metavar="N", help="Most tenants on it.")
_accept = click.option("--accept/--refuse", "accepts", default=None, help="Whether it takes new tenants.")


def _says_why(command: Callable[..., Any]) -> Callable[..., Any]:
    by = click.option("--by", metavar="WHO", help="Who does it, for the audit trail [you, at this machine].")
    return by(click.option("--reason", metavar="WHY", help="Why, for the audit trail.")(command))


@click.group()
def server() -> None:
    """Database servers: where tenants' databases are made."""


@server.command("list")
@json_option
@runs_async
async def server_list(as_json: bool) -> None:
    """List all servers, and how many tenants live on each."""
    async with open_ledger(projection="external") as ledger:
        records = await ledger.tenants.servers.list()
    if as_json:
        print_json(records)
        return
    made = render.table("server", "#tenants", "#at most", "new tenants", "address")
    for record in records:
        most = "" if record.tenants_max is None else str(record.tenants_max)
        takes = "accepted" if record.accepts_new_tenants else "refused"
        where = record.address or "that of the settings"
        made.add_row(record.server_name, str(record.tenants), most, takes, where)
    out.print(made)


@server.command("add")
@click.argument("name")
@click.argument("address", metavar="postgresql://USER@HOST:PORT/DATABASE")
@_tenants_max
@_accept
@_says_why
@runs_async
async def server_add(
    name: str, address: str, tenants_max: int | None, accepts: bool | None, by: str | None, reason: str | None
) -> None:
    """Add a server, after having connected to it. Its password is never kept: it stands in
    DAICHO_SERVER_<NAME>_PASSWORD, or in a file named by that with _FILE, wherever daicho runs."""
    async with open_ledger(projection="external") as ledger:
        record = await ledger.tenants.servers.add(
            name,
            address,
            tenants_max=tenants_max,
            accepts_new_tenants=accepts is not False,
            by=by,
            reason=reason,
        )
    out.print(f"Server {name} is in the catalogue: {_state(record)}. Its password: {password_variable(name)}")


@server.command("set")
@click.argument("name")
@_tenants_max
@_accept
@_says_why
@runs_async
async def server_set(
    name: str, tenants_max: int | None, accepts: bool | None, by: str | None, reason: str | None
) -> None:
    """Change how many tenants server NAME takes, or whether it takes new ones."""
    if tenants_max is None and accepts is None:
        raise click.UsageError("Say what to change: --tenants-max, --accept or --refuse")
    async with open_ledger(projection="external") as ledger:
        record = await ledger.tenants.servers.change(
            name, tenants_max=tenants_max, accepts_new_tenants=accepts, by=by, reason=reason
        )
    out.print(f"Server {name}: {_state(record)}")


@server.command("remove")
@click.argument("name")
@_says_why
@runs_async
async def server_remove(name: str, by: str | None, reason: str | None) -> None:
    """Take server NAME, on which no tenant lives, out of the catalogue."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.servers.remove(name, by=by, reason=reason)
    out.print(f"Server {name} is out of the catalogue")


def _state(record: ServerRecord) -> str:
    most = "any number of tenants" if record.tenants_max is None else f"at most {record.tenants_max} tenants"
    return f"{most}, new ones {'accepted' if record.accepts_new_tenants else 'refused'}"
