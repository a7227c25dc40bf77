"""`daicho blob gc` and `fsck`: garbage goes, and what events refer to is shown to be there."""

import sys
import time
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ledger.cli import render
from ledger.cli.running import (
    CHECK_FAILED,
    err,
    json_option,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.control.audit import this_actor
from ledger.upkeep.checking import PARALLEL, check_blobs
from ledger.upkeep.collecting import GRACE_SECONDS, collect_garbage
from ledger.upkeep.reports import CheckReport, CollectionReport

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
@click.option("--by", "actor", metavar="WHO", default=this_actor, show_default="this account@machine",
              help="Who does it; recorded.")  # fmt: skip
@json_option
@runs_async
async def gc(tenant_id: str | None, grace_hours: float, dry_run: bool, actor: str, as_json: bool) -> None:
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
        f"{_blobs(report.listed)} ({render.size(report.listed_bytes)}), log up to position "
        f"{report.position}: {report.mentioned} mentioned, {report.young} too young, {report.garbage} garbage"
    )
    if report.dry_run:
        size = render.size(report.garbage_bytes)
        out.print(f"Would delete {_blobs(report.garbage)} ({size}). Nothing was done.")
        return
    if report.taken_over:
        out.print(f"Finished what an earlier run had begun: {_blobs(report.taken_over)}")
    if report.retained:
        out.print(f"Left {_blobs(report.retained)} that are locked until later (object lock)")
    out.print(f"Deleted {_blobs(report.deleted)} ({render.size(report.deleted_bytes)}), recorded in the log")


@click.command("fsck")
@tenant_option
@click.option("--quick", is_flag=True, help="Existence and size alone; no blob is read.")
@click.option("--parallel", type=click.IntRange(1, 64), default=PARALLEL, show_default=True,
              help="Blobs read at a time.")  # fmt: skip
@click.option("--resume", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep in FILE how far it has come, and go on from there where it exists.")  # fmt: skip
@click.option("--orphans", "list_orphans", is_flag=True, help="List the blobs that no event mentions.")
@json_option
@runs_async
async def fsck(
    tenant_id: str | None, quick: bool, parallel: int, resume: Path | None, list_orphans: bool, as_json: bool
) -> int:
    """Check that every blob that events refer to is there, has its size and hashes to its digest.

    Exit code 1 where one does not; each is named with the runs that need it. Nothing is changed.
    """
    async with open_tenant(tenant_id) as tenant:
        with Counting() as counting:
            report = await check_blobs(
                tenant, quick=quick, parallel=parallel, resume=resume, progress=counting.checked
            )
    if as_json:
        print_json(report)
    else:
        _tell_check(report, list_orphans)
    return 0 if report.ok else CHECK_FAILED


def _tell_check(report: CheckReport, list_orphans: bool) -> None:
    for bad in report.bad:
        problem = bad.problem.replace("_", " ")
        click.echo(f"{bad.digest}  {problem}, found {bad.found}\n    needed by {', '.join(bad.runs)}")
    if list_orphans:
        for digest in report.orphans:
            click.echo(f"{digest}  orphan")
    rate = report.hashed_bytes / max(report.seconds, 0.001) / 1e6
    how = "sizes compared" if report.quick else f"{render.size(report.hashed_bytes)} hashed, {rate:,.0f} MB/s"
    out.print(
        f"{_blobs(report.checked)} that events up to position {report.position} refer to, {how}: "
        f"{report.bad_count or 'none'} bad"
    )
    if report.bad_count > len(report.bad):
        out.print(f"Listed are the first {len(report.bad)}")
    if report.orphan_count:
        size = render.size(report.orphan_bytes)
        out.print(f"Mentioned by no event: {_blobs(report.orphan_count)} ({size}); `daicho blob gc`")


def _blobs(count: int) -> str:
    return "1 blob" if count == 1 else f"{count:,} blobs"


class Counting:
    """What is counted, on standard error where that is a terminal, nothing where it is not."""

    def __init__(self) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        self._progress = Progress(*columns, console=err, transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("", total=None)
        self._began = time.monotonic()

    def counted(self, what: str, count: int) -> None:
        self._progress.update(self._task, description=f"{count:,} {what}")

    def checked(self, report: CheckReport) -> None:
        rate = report.hashed_bytes / max(time.monotonic() - self._began, 0.001) / 1e6
        self.counted(f"of {report.referenced:,} blobs checked, {rate:,.0f} MB/s", report.checked)

    def __enter__(self) -> "Counting":
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()
