"""Commands about projections: rebuild, verify."""

from typing import Any

import click

from ledger.cli import render
from ledger.cli.progress import Progress
from ledger.cli.running import (
    CHECK_FAILED,
    json_option,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.control.audit import this_actor
from projections import RebuildReport, VerifyReport
from projections import rebuild as rebuild_tables
from projections import verify as verify_tables
from projections.installed import chosen_projections
from projections.workers import WORKERS_MAX

projection_option = click.option(
    "--projection", "name", metavar="NAME", default="core", show_default=True, help="Which projection."
)
table_option = click.option("--table", metavar="NAME", help="Only this table.")
run_option = click.option("--run", "run_id", metavar="RUN", help="Only the rows of this run.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(0, WORKERS_MAX),
    help="Processes that fold; 0 is this one. [default: as many as processors, where there is much to fold]",
)


@click.command()
@tenant_option
@projection_option
@table_option
@run_option
@workers_option
@click.option("--dry-run", is_flag=True, help="Only compare, as verify does; nothing is changed.")
@click.option(
    "--by", metavar="WHO", default=this_actor, show_default="this account@machine", help="Who; recorded."
)
@click.option("--reason", metavar="WHY", help="Why; recorded.")
@json_option
@runs_async
async def rebuild(
    tenant_id: str | None,
    name: str,
    table: str | None,
    run_id: str | None,
    workers: int | None,
    dry_run: bool,
    by: str,
    reason: str | None,
    as_json: bool,
) -> int:
    """Fold every event again and replace the tables, while they are read and projected into."""
    if table is not None and run_id is not None:
        raise click.UsageError("--table or --run, not both")
    [projection] = chosen_projections([name])
    what: dict[str, Any] = {"projection": projection, "table": table, "run_id": run_id, "workers": workers}
    async with open_tenant(tenant_id, projection="external") as opened:
        with Progress() as bar:
            if dry_run:
                return _show_verification(await verify_tables(opened, **what, progress=bar.moved), as_json)
            report = await rebuild_tables(opened, **what, progress=bar.moved, by=by, reason=reason)
    _show_rebuild(report, as_json)
    return 0


@click.command()
@tenant_option
@projection_option
@table_option
@run_option
@click.option(
    "--sample",
    "percent",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="Only about so much of the log, drawn by chance.",
)
@workers_option
@json_option
@runs_async
async def verify(
    tenant_id: str | None,
    name: str,
    table: str | None,
    run_id: str | None,
    percent: float | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Compare the tables with a fresh fold of the events. Exit code 1 where they differ."""
    [projection] = chosen_projections([name])
    async with open_tenant(tenant_id, projection="external") as opened:
        with Progress() as bar:
            report = await verify_tables(
                opened,
                projection=projection,
                table=table,
                run_id=run_id,
                sample=None if percent is None else percent / 100,
                workers=workers,
                progress=bar.moved,
            )
    return _show_verification(report, as_json)


def _show_rebuild(report: RebuildReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rate = report.events / max(report.seconds, 0.001)
    out.print(
        f"{render.events(report.events)} folded in {report.seconds:.2f} s ({rate:,.0f} events/s), "
        f"up to position {report.position}"
    )
    made = render.table("table", "#rows", "digest")
    for name, digest in report.digests.items():
        made.add_row(name, str(report.rows[name]), digest[:24])
    out.print(made)


def _show_verification(report: VerifyReport, as_json: bool) -> int:
    if as_json:
        print_json(report)
    else:
        out.print(render.verify_view(report))
        verdict = "equal" if report.ok else f"{report.difference_count} differences"
        share = "" if report.sampled == 1 else f", a sample of {report.sampled:.1%} of the log"
        out.print(
            f"{render.events(report.events)} folded, tables at position {report.position}: {verdict}{share}"
        )
    return 0 if report.ok else CHECK_FAILED
