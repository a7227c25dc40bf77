"""`daicho migrate`: brings all databases to this version's schema."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ledger.cli.running import (
    err,
    json_option,
    load_settings,
    out,
    print_json_line,
    runs_async,
    tell,
)
from ledger.control.catalogue import Catalogue
from ledger.control.migrating import PARALLEL, PARALLEL_MAX, Migrated, Migration
from ledger.control.migrations import head_revision, upgrade_control
from ledger.control.server import open_server
from ledger.control.servers import DatabaseServers


@click.command()
@click.option("--keep-going", is_flag=True, help="Go on with the others where a tenant fails.")
@click.option(
    "--parallel",
    type=click.IntRange(1, PARALLEL_MAX),
    default=PARALLEL,
    show_default=True,
    help="Tenants migrated at a time.",
)
@json_option
@runs_async
async def migrate(keep_going: bool, parallel: int, as_json: bool) -> int:
    """Bring the control database, then every tenant's, to this version's schema.

    Each tenant is migrated whole or not at all. At the first that fails it stops, and running it again goes
    on where it stopped.
    """
    failed: list[Migrated] = []
    async with open_server(load_settings()) as server:
        await upgrade_control(server)
        if not as_json:
            out.print(f"control: at revision {head_revision('control')}")
        async with Catalogue.open(server) as catalogue:
            migration = await Migration.of(DatabaseServers(server, catalogue), catalogue)
            total, done = len(migration.tenants), 0
            with _bar(total) as (bar, task):
                async for migrated in migration.run(parallel=parallel, keep_going=keep_going):
                    done += 1
                    bar.advance(task)
                    _report(migrated, as_json)
                    if migrated.error is not None:
                        failed.append(migrated)
            if not failed:
                await migration.drop_old_templates()
    if not as_json:
        left = f", {total - done} left as they were" if done < total else ""
        out.print(f"{done - len(failed)} of {total} tenants migrated, {len(failed)} failed{left}")
    return tell(failed[0].error) if failed and failed[0].error else 0


def _report(migrated: Migrated, as_json: bool) -> None:
    if as_json:
        row: dict[str, Any] = {"tenant_id": migrated.tenant_id, "seconds": migrated.seconds}
        row["error"] = None if migrated.error is None else str(migrated.error)
        print_json_line(row)
    elif migrated.error is None:
        out.print(f"{migrated.tenant_id}: at revision {head_revision('tenant')}")
    else:
        out.print(f"{migrated.tenant_id}: failed", style="bold red")


@contextmanager
def _bar(total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("migrating"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar, bar.add_task("migrating", total=total)
