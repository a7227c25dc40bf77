"""Commands that write: init, migrate, tenant, emit, demo."""

from pathlib import Path
from typing import Any, TextIO

import click
import orjson

from ledger.cli import render
from ledger.cli.running import (
    json_option,
    load_settings,
    open_ledger,
    open_tenant,
    out,
    print_json,
    print_json_line,
    runs_async,
    tell,
    tenant_option,
)
from ledger.composition import blob_backend
from ledger.contract.events import Event
from ledger.control.catalogue import Catalogue
from ledger.control.migrations import upgrade_control, upgrade_tenant
from ledger.control.server import open_server
from ledger.errors import DaichoError, InvalidEvent

_NOTHING_SENT = "Correct the line; nothing was sent"


@click.command()
@runs_async
async def init() -> None:
    """Prepare the configured stores: the control database's schema, and the bucket or folder."""
    settings = load_settings()
    async with open_server(settings) as server:
        await upgrade_control(server)
        blobs = blob_backend(settings)
        try:
            await blobs.prepare()
            await blobs.check()
        finally:
            await blobs.close()
        out.print(f"Control database ready: {server.name}")
        out.print(f"Blob store ready: {blobs.describe()}")


@click.command()
@runs_async
async def migrate() -> int:
    """Bring the control database and every tenant's to this version's schema."""
    async with open_server(load_settings()) as server:
        await upgrade_control(server)
        out.print("control: at head")
        async with Catalogue.open(server) as catalogue:
            tenants = [tenant for tenant in await catalogue.list() if tenant.status != "creating"]
        for tenant in tenants:
            try:
                await upgrade_tenant(tenant.database_on(server))
            except DaichoError as error:
                out.print(f"{tenant.tenant_id}: failed; the tenants after it were left as they are")
                return tell(error)
            out.print(f"{tenant.tenant_id}: at head")
    return 0


@click.group()
def tenant() -> None:
    """Tenants: each with a database and blobs of its own."""


@tenant.command("create")
@click.argument("tenant_id", metavar="ID")
@click.argument("name", required=False)
@runs_async
async def tenant_create(tenant_id: str, name: str | None) -> None:
    """Make tenant ID with its database. Repeating it finishes what was interrupted."""
    async with open_ledger(projection="external") as ledger:
        database = await ledger.tenants.create_tenant_db(tenant_id, name or tenant_id)
    out.print(f"Tenant {tenant_id} is ready, in database {database}")


@tenant.command("list")
@json_option
@runs_async
async def tenant_list(as_json: bool) -> None:
    """List all tenants."""
    async with open_ledger(projection="external") as ledger:
        records = await ledger.tenants.list()
    if as_json:
        print_json(records)
        return
    made = render.table("tenant", "name", "status", "database", "created")
    for record in records:
        created = render.local_time(record.created_at)
        made.add_row(record.tenant_id, record.name, record.status, record.database_name, created)
    out.print(made)


@tenant.command("suspend")
@click.argument("tenant_id", metavar="ID")
@runs_async
async def tenant_suspend(tenant_id: str) -> None:
    """Refuse further work of tenant ID."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.suspend(tenant_id)
    out.print(f"Tenant {tenant_id} is suspended; `daicho tenant resume {tenant_id}` ends it")


@tenant.command("resume")
@click.argument("tenant_id", metavar="ID")
@runs_async
async def tenant_resume(tenant_id: str) -> None:
    """Accept work of tenant ID again."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.resume(tenant_id)
    out.print(f"Tenant {tenant_id} is active")


@click.command()
@tenant_option
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@runs_async
async def emit(tenant_id: str | None, file: TextIO) -> None:
    """Append events, one JSON object per line of FILE (default: standard input), and print each as
    recorded. Every line is checked before the first is sent.

    \b
    {"event_type": "step.started", "run_id": "r1", "step_id": "outline", "payload": {}}
    """
    async with open_tenant(tenant_id) as opened:
        lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
        events = [_event(line, number, opened.tenant_id) for number, line in lines]
        for event in events:
            print_json_line((await opened.emitter.emit(event)).to_dict())


def _event(line: str, number: int, tenant_id: str) -> Event:
    try:
        fields: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"Line {number} is not JSON: {error}", fix=_NOTHING_SENT) from None
    if not isinstance(fields, dict):
        raise InvalidEvent(f"Line {number} is not a JSON object", fix=_NOTHING_SENT)
    return Event(**{"tenant_id": tenant_id, **fields})


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@runs_async
async def demo(folder: Path | None) -> int:
    """Run a real pipeline over text files: FOLDER, or this folder's README, ARCHITECTURE and docs."""
    from ledger.demo.main import run_demo

    return await run_demo(load_settings(), folder, out)
