"""Commands that look across runs: search, stats."""

import click

from ledger.cli.answers.search import found_view, statistics_view
from ledger.cli.points import range_options
from ledger.cli.running import (
    catch_up,
    json_option,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from ledger.contract.errors import ErrorCategory
from projections.audit import AuditQueries, Point, SearchPage
from projections.audit.search import LIMIT_MAX, FoundEvent
from projections.audit.statistics import Source

CATEGORIES = [kind.value for kind in ErrorCategory if kind.name.isupper()]


@click.command()
@tenant_option
@click.option("--run", "run_id", metavar="RUN", help="Only this run.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; repeatable.")
@click.option("--step", "step_id", metavar="STEP", help="Only this step.")
@click.option("--actor", metavar="WHO", help="Only what WHO did.")
@click.option("--category", type=click.Choice(CATEGORIES), help="Only failures of this category.")
@click.option("--text", metavar="TEXT", help="Only where the payload holds TEXT, in upper or lower case.")
@range_options
@click.option("--before", type=click.IntRange(1), metavar="N", help="Go on: the `next` of the page before.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True)
@json_option
@runs_async
async def search(
    tenant_id: str | None,
    run_id: str | None,
    types: tuple[str, ...],
    step_id: str | None,
    actor: str | None,
    category: str | None,
    text: str | None,
    since: Point | None,
    until: Point | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find events, the newest first."""
    events: list[FoundEvent] = []
    async with open_tenant(tenant_id, projection="external") as tenant:
        audit = AuditQueries(tenant)
        while True:
            page = await audit.search(
                run_id=run_id,
                types=types or None,
                step_id=step_id,
                actor=actor,
                category=category,
                text=text,
                since=since,
                until=until,
                before=before,
                limit=limit - len(events),
            )
            events += page.events
            before = page.next
            if len(events) == limit or before is None:
                break
    if as_json:
        print_json(SearchPage(tenant_id=page.tenant_id, events=events, next=before))
        return
    out.print(found_view(events) if events else "Nothing found.")
    if before is not None:
        out.print(f"there may be more: --before {before}", style="dim")


@click.command()
@tenant_option
@range_options
@click.option("--from-events", is_flag=True, help="Fold every event instead of asking the tables.")
@json_option
@runs_async
async def stats(
    tenant_id: str | None, since: Point | None, until: Point | None, from_events: bool, as_json: bool
) -> None:
    """Count failures, retries, durations and repairs, by step, in any range of time."""
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        source: Source = "events" if from_events else "tables"
        found = await AuditQueries(tenant).statistics(since=since, until=until, source=source)
    if as_json:
        print_json(found)
    else:
        out.print(statistics_view(found))
