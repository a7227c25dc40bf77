"""The command that lists runs, page by page."""

import re
import shlex
from datetime import UTC, datetime, timedelta

import click
from click.core import ParameterSource
from rich.text import Text

from ledger.cli import render
from ledger.cli.reading import AwareTime
from ledger.cli.running import catch_up, json_option, open_tenant, out, print_json, runs_async, tenant_option
from ledger.contract.errors import ErrorCategory
from projections.rows import columns
from projections.run_listing import LIMIT_MAX, RUN_STATUSES, RunFilter, list_runs

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class TimeOrAge(AwareTime):
    """ISO 8601, or how long ago: 90s, 15m, 2h, 7d, 4w."""

    name = "time|age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        age = _AGE.fullmatch(str(value))
        if age is None:
            return super().convert(value, param, ctx)
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        except OverflowError:
            self.fail(f"{value!r} is before all calendars", param, ctx)


@click.command()
@tenant_option
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
    """List runs, the last recorded first."""
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
    if page.next is not None:
        out.print(Text(f"More: {shlex.join(_next_call(page.next))}", style="dim"), soft_wrap=True)


def _next_call(cursor: int) -> list[str]:
    """The call that was made, for the page after this one."""
    context = click.get_current_context()
    given: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is ParameterSource.COMMANDLINE and parameter.name not in {"after", "as_json"}:
            given += [parameter.opts[-1], str(context.params[parameter.name or ""])]
    return ["daicho", "runs", *given, "--after", str(cursor)]
