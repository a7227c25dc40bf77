"""The command that lists runs, page by page."""

import shlex
from datetime import datetime

import click
from click.core import ParameterSource
from rich.text import Text

from ledger.cli import render
from ledger.cli.points import at_option
from ledger.cli.running import catch_up, json_option, open_tenant, out, print_json, runs_async, tenant_option
from ledger.cli.times import TimeOrAge
from ledger.contract.errors import ErrorCategory
from ledger.tenant import Tenant
from projections.audit import AuditQueries, Point
from projections.rows import columns
from projections.run_listing import LIMIT_MAX, RUN_STATUSES, RunFilter, list_runs


@click.command()
@tenant_option
@at_option
@click.option("--status", type=click.Choice(RUN_STATUSES), help="Only runs with this status.")
@click.option("--since", type=TimeOrAge(), help="First recorded then or later: ISO 8601, or 2h, 7d.")
@click.option("--until", type=TimeOrAge(), help="First recorded before then.")
@click.option("--step", metavar="NAME", help="Only runs with this step.")
@click.option(
    "--error",
    "error_category",
    type=click.Choice([category.value for category in ErrorCategory]),
    help="Only runs with a failure of this category; with --step, where it is that step's last.",
)
@click.option("--pack", metavar="ID[@VERSION]", help="Only runs started with this prompt pack.")
@click.option("--text", metavar="WORDS", help="Each begins a word of the id, pipeline, labels or error.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True)
@click.option("--after", type=click.IntRange(0, 2**63 - 1), metavar="CURSOR", help="`next` of a page before.")
@json_option
@runs_async
async def runs(
    tenant_id: str | None,
    at: Point | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    step: str | None,
    error_category: str | None,
    pack: str | None,
    text: str | None,
    limit: int,
    after: int | None,
    as_json: bool,
) -> None:
    """List runs, the last recorded first.

    With --at, as they stood then, folded from their events: `--at 2d --status running` are those that were
    open two days ago.
    """
    pack_id, _, pack_version = (pack or "").partition("@")
    wanted = RunFilter(
        status=status,
        since=since,
        until=until,
        step=step,
        error_category=error_category,
        prompt_pack=pack_id or None,
        prompt_pack_version=pack_version or None,
        text=text,
    )
    if at is not None:
        if wanted != RunFilter(status=status):
            raise click.UsageError("--at goes with --status, --limit and --after alone")
        async with open_tenant(tenant_id, projection="external") as tenant:
            await _list_as_of(tenant, at, status, limit, after, as_json)
        return
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        page = await list_runs(tenant, wanted, limit=limit, after=after)
    if as_json:
        rows = [{name: getattr(run, name) for name in columns(type(run))} for run in page.runs]
        print_json({"runs": rows, "next": page.next})
        return
    if page.runs:
        out.print(render.runs_table(page.runs))
    else:
        out.print("No runs yet." if wanted == RunFilter() and after is None else "No such runs.")
    _say_more(page.next)


async def _list_as_of(
    tenant: Tenant, at: Point, status: str | None, limit: int, after: int | None, as_json: bool
) -> None:
    page = await AuditQueries(tenant).runs_at(at, status=status, limit=limit, after=after)
    if as_json:
        print_json(page)
        return
    out.print(Text(f"as of {render.position_text(page.position)}", style="dim"))
    out.print(render.runs_table(page.runs) if page.runs else "No such runs.")
    _say_more(page.next)


def _say_more(cursor: int | None) -> None:
    if cursor is not None:
        out.print(Text(f"More: {shlex.join(_next_call(cursor))}", style="dim"), soft_wrap=True)


def _next_call(cursor: int) -> list[str]:
    """The call that was made, for the page after this one."""
    context = click.get_current_context()
    given: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is ParameterSource.COMMANDLINE and parameter.name not in {"after", "as_json"}:
            given += [parameter.opts[-1], str(context.params[parameter.name or ""])]
    return ["daicho", "runs", *given, "--after", str(cursor)]
