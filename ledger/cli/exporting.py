"""`daicho export` and `daicho import`: events for other programs, and a log made of them again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from ledger.cli.points import range_options
from ledger.cli.progress import Progress
from ledger.cli.render import events
from ledger.cli.running import (
    err,
    json_option,
    open_ledger,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.cli.tenants import by_option, reason_option
from ledger.errors import ArchiveExists, ArchiveUnwritable
from ledger.exports import FORMATS, Format, export_events, import_events
from projections.audit import Point


@click.command("export")
@tenant_option
@click.option("--format", "format_", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--run", "run_id", metavar="RUN", help="Only this run's events.")
@range_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A new file, which is there when it is whole [standard output].",
)
@runs_async
async def export(
    tenant_id: str | None,
    format_: Format,
    run_id: str | None,
    since: Point | None,
    until: Point | None,
    output: Path | None,
) -> None:
    """Write events for other programs to read: all of the tenant, or of a run or a range.

    jsonl is complete: `daicho import` makes the same log of it.
    """
    if output is None and format_ == "parquet":
        raise click.UsageError("Parquet is no text: name a file with --output")
    async with open_tenant(tenant_id, projection="external") as tenant:
        with _opened(output) as file, Progress() as progress:
            done = await export_events(
                tenant, file, format_, run_id=run_id, since=since, until=until, progress=progress.moved
            )
    if output is not None:
        among = f", positions {done.after + 1} to {done.upto}" if done.after < done.upto else ""
        err.print(f"{output}: {events(done.events)}{among}")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--as", "tenant_id", metavar="ID", required=True, help="The new tenant's id.")
@click.option("--name", help="The new tenant's name [its id].")
@click.option("--server", metavar="NAME", help="The database server [the accepting one with fewest tenants].")
@by_option
@reason_option
@json_option
@runs_async
async def import_(
    file: Path,
    tenant_id: str,
    name: str | None,
    server: str | None,
    by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Make a new tenant of FILE, the jsonl of a whole log: the same events under the same positions, ids and
    commitments. Repeating it finishes what was interrupted.

    Bodies are not in it; `daicho tenant export` writes those too.
    """
    async with open_ledger(projection="external") as ledger:
        with Progress() as progress:
            moved = progress.moved
            done = await import_events(
                ledger, file, tenant_id, name=name, server=server, by=by, reason=reason, progress=moved
            )
    if as_json:
        print_json(done)
    else:
        out.print(f"Tenant {done.tenant_id} has the log of {done.former_id}, up to position {done.position}")


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that gets its name when it is whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if output.exists():
        raise ArchiveExists(f"{output} is there already", fix="Name another file, or move that one away")
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.rename(output)
    except OSError as error:
        raise ArchiveUnwritable(
            f"{output} cannot be written: {error.strerror or error}",
            fix="Make room, or name a file in a folder that can be written; then export again",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
