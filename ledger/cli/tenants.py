"""`daicho tenant`: the life of a tenant, from its making to its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ledger.cli import render
from ledger.cli.running import err, json_option, open_ledger, out, print_json, runs_async, tell_usage

by_option = click.option(
    "--by", metavar="WHO", help="Who does it, for the audit trail [you, at this machine]."
)
reason_option = click.option("--reason", metavar="WHY", help="Why, for the audit trail.")


@click.group()
def tenant() -> None:
    """Tenants: each with a database and blobs of its own."""


@tenant.command("create")
@click.argument("tenant_id", metavar="ID")
@click.argument("name", required=False)
@click.option("--server", metavar="NAME", help="The database server [the accepting one with fewest tenants].")
@click.option("--by", metavar="WHO", help="Who does it, for the audit trail [you, at this machine].")
@runs_async
async def tenant_create(tenant_id: str, name: str | None, server: str | None, by: str | None) -> None:
    """Make tenant ID with its database. Repeating it finishes what was interrupted."""
    async with open_ledger(projection="external") as ledger:
        database = await ledger.tenants.create_tenant_db(tenant_id, name or tenant_id, server=server, by=by)
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
    made = render.table("tenant", "name", "status", "server", "database", "created")
    for record in records:
        created = render.local_time(record.created_at)
        where = (record.server_name, record.database_name)
        made.add_row(record.tenant_id, record.name, record.status, *where, created)
    out.print(made)


@tenant.command("suspend")
@click.argument("tenant_id", metavar="ID")
@by_option
@reason_option
@runs_async
async def tenant_suspend(tenant_id: str, by: str | None, reason: str | None) -> None:
    """Record nothing more for tenant ID, whoever has it open; reading goes on."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.suspend(tenant_id, by=by, reason=reason)
    out.print(f"Tenant {tenant_id} is suspended; `daicho tenant resume {tenant_id}` ends it")


@tenant.command("resume")
@click.argument("tenant_id", metavar="ID")
@by_option
@reason_option
@runs_async
async def tenant_resume(tenant_id: str, by: str | None, reason: str | None) -> None:
    """Accept work of tenant ID again."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.resume(tenant_id, by=by, reason=reason)
    out.print(f"Tenant {tenant_id} is active")


@tenant.command("rename")
@click.argument("tenant_id", metavar="ID")
@click.argument("name")
@by_option
@reason_option
@runs_async
async def tenant_rename(tenant_id: str, name: str, by: str | None, reason: str | None) -> None:
    """Give tenant ID another NAME; its id stays."""
    async with open_ledger(projection="external") as ledger:
        await ledger.tenants.rename(tenant_id, name, by=by, reason=reason)
    out.print(f"Tenant {tenant_id} is called {name}")


@tenant.command("move")
@click.argument("tenant_id", metavar="ID")
@click.option("--to", "server", metavar="SERVER", help="The server it moves to (`daicho server list`).")
@click.option("--cancel", is_flag=True, help="Take back a move that was interrupted.")
@by_option
@reason_option
@json_option
@runs_async
async def tenant_move(
    tenant_id: str, server: str | None, cancel: bool, by: str | None, reason: str | None, as_json: bool
) -> int:
    """Move tenant ID to another server. Its writers wait for moments and go on there."""
    from ledger.lifecycle import cancel_move, move_tenant

    if cancel == (server is not None):
        return tell_usage("either --to SERVER or --cancel")
    async with open_ledger(projection="external") as ledger:
        if server is None:
            await cancel_move(ledger, tenant_id, by=by)
            out.print(f"Tenant {tenant_id} stays where it was")
            return 0
        with _progress() as progress:
            report = await move_tenant(ledger, tenant_id, server, by=by, reason=reason, progress=progress)
    if as_json:
        print_json(report)
    elif report.moved:
        waited = f"; writers waited {report.paused_seconds:.2f} s" if report.paused_seconds else ""
        out.print(f"Tenant {tenant_id} lives on server {server}, at position {report.position}{waited}")
    else:
        out.print(f"Tenant {tenant_id} lives on server {server} already")
    return 0


@tenant.command("export")
@click.argument("tenant_id", metavar="ID")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@by_option
@reason_option
@json_option
@runs_async
async def tenant_export(
    tenant_id: str, file: Path, by: str | None, reason: str | None, as_json: bool
) -> None:
    """Write everything of tenant ID, events, bodies and checkpoints, into the archive FILE."""
    from ledger.lifecycle import export_tenant

    async with open_ledger(projection="external") as ledger:
        with _progress() as progress:
            report = await export_tenant(ledger, tenant_id, file, by=by, reason=reason, progress=progress)
    if as_json:
        print_json(report)
        return
    out.print(
        f"{file}: tenant {tenant_id} up to position {report.position}, {report.blobs} bodies, "
        f"{render.size(report.archive_bytes)}"
    )


@tenant.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "tenant_id", metavar="ID", required=True, help="The new tenant's id.")
@click.option("--name", help="The new tenant's name [as in the archive].")
@click.option("--server", metavar="NAME", help="The database server [the accepting one with fewest tenants].")
@by_option
@reason_option
@json_option
@runs_async
async def tenant_import(
    file: Path,
    tenant_id: str,
    name: str | None,
    server: str | None,
    by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Make a new tenant of the archive FILE. Repeating it finishes what was interrupted."""
    from ledger.lifecycle import import_tenant

    async with open_ledger(projection="external") as ledger:
        with _progress() as progress:
            report = await import_tenant(
                ledger, file, tenant_id, name=name, server=server, by=by, reason=reason, progress=progress
            )
    if as_json:
        print_json(report)
        return
    out.print(
        f"Tenant {tenant_id} is ready: {report.former_id} up to position {report.position}, "
        f"{report.blobs} bodies"
    )


@tenant.command("delete")
@click.argument("tenant_id", metavar="ID")
@click.option("--yes", is_flag=True, help="It cannot be undone, and you mean it.")
@click.option("--no-export", is_flag=True, help="Also where no archive holds all that was recorded.")
@by_option
@reason_option
@json_option
@runs_async
async def tenant_delete(
    tenant_id: str, yes: bool, no_export: bool, by: str | None, reason: str | None, as_json: bool
) -> int:
    """Delete tenant ID for good: database, roles and bodies. Its id is never given again."""
    from ledger.lifecycle import delete_tenant

    if not yes:
        return tell_usage(f"deleting {tenant_id} cannot be undone: say --yes; nothing was deleted")
    async with open_ledger(projection="external") as ledger:
        with _progress() as progress:
            report = await delete_tenant(
                ledger, tenant_id, without_export=no_export, by=by, reason=reason, progress=progress
            )
    if as_json:
        print_json(report)
    elif report.already:
        out.print(f"Tenant {tenant_id} was deleted already")
    else:
        out.print(f"Tenant {tenant_id} is deleted, with {report.blobs} bodies")
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar per thing that is being done, on standard error where that is a terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    tasks: dict[str, Any] = {}

    def progress(doing: str, done: int, of: int) -> None:
        if doing not in tasks:
            tasks[doing] = bar.add_task(doing, total=of)
        bar.update(tasks[doing], completed=done, total=of)

    with bar:
        yield progress
