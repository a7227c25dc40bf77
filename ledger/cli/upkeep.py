"""`daicho blob gc` and `fsck`: garbage goes, and what events refer to is shown to be there."""

import sys

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ledger.cli import render
from ledger.cli.running import (
    err,
    json_option,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.upkeep.collecting import GRACE_SECONDS, CollectionReport, collect_garbage

GRACE_HOURS_MIN = 2.0
"""A put renews a blob that is older than an hour; its event is recorded within a minute."""


@click.command("gc")
@tenant_option
@click.option(
    "--grace",
    "grace_hours",
    type=click.FloatRange(min=GRACE_HOURS_MIN),
    default=GRACE_SECONDS / 3600,
    show_default=True,
    metavar="HOURS",
    help="Younger blobs stay.",
)
@click.option("--dry-run", is_flag=True, help="Count what would be deleted; delete nothing.")
@click.option("--by", "actor", metavar="WHO", help="Who does it; recorded.")
@json_option
@runs_async
async def gc(
    tenant_id: str | None, grace_hours: float, dry_run: bool, actor: str | None, as_json: bool
) -> None:
    """Delete the blobs that no event mentions, and record that.

    Safe while others put, in any process. Only blobs older than --grace are looked at; one that a put renews,
    or an event comes to mention, stays. Killed anywhere, it leaves garbage for the next time, never an event
    that refers to nothing.
    """
    async with open_tenant(tenant_id) as tenant:
        with Counting() as counting:
            report = await collect_garbage(
                tenant,
                grace_seconds=grace_hours * 3600,
                dry_run=dry_run,
                actor=actor,
                progress=counting.counted,
            )
    if as_json:
        print_json(report)
    else:
        _tell(report)


def _tell(report: CollectionReport) -> None:
    out.print(
        f"{report.listed} blobs ({render.size(report.listed_bytes)}), log up to position {report.position}: "
        f"{report.referenced} mentioned, {report.young} too young, {report.garbage} garbage"
    )
    if report.dry_run:
        size = render.size(report.garbage_bytes)
        out.print(f"Would delete {report.garbage} blobs ({size}). Nothing was done.")
        return
    if report.taken_over:
        out.print(f"Finished what an earlier run had begun: {report.taken_over} blobs")
    out.print(f"Deleted {report.deleted} blobs ({render.size(report.deleted_bytes)}), recorded in the log")


class Counting:
    """What is counted, on standard error where that is a terminal, nothing where it is not."""

    def __init__(self) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        self._progress = Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=None)

    def counted(self, what: str, count: int) -> None:
        self._progress.update(self._task, description=f"{count:,} {what}")

    def __enter__(self) -> "Counting":
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()
