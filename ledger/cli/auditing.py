"""Commands that replay: timeline, state, table, replay, diff, explain, lineage."""

from collections.abc import Iterable
from pathlib import Path

import click
from pydantic import TypeAdapter

from ledger.cli.answers.diff import diff_view
from ledger.cli.answers.explain import explain_view
from ledger.cli.answers.lineage import lineage_dot, lineage_view
from ledger.cli.answers.state import replay_view, rows_view, state_view
from ledger.cli.answers.timeline import entry_line, timeline_view
from ledger.cli.piping import ends_with_its_reader
from ledger.cli.points import POINT, at_option
from ledger.cli.running import (
    CHECK_FAILED,
    catch_up,
    json_option,
    open_tenant,
    out,
    print_json,
    print_json_line,
    runs_async,
    tenant_option,
)
from projections.audit import AuditQueries, Point, TimelineEntry
from projections.audit.bodies import BodyChange
from projections.audit.diff import artifact_changes
from projections.audit.lineage import Direction

_ENTRY = TypeAdapter(TimelineEntry)
run_argument = click.argument("run_id", metavar="RUN")
bodies_option = click.option("--bodies", is_flag=True, help="Also what changed inside text and JSON bodies.")


@click.command()
@run_argument
@tenant_option
@at_option
@click.option("--step", metavar="STEP", help="Only this step.")
@click.option("--since", type=POINT, metavar="POINT", help="Only what was recorded from then on.")
@click.option("--errors", is_flag=True, help="Only what failed, was lost, cancelled or does not fit.")
@click.option("--no-chart", is_flag=True, help="Without the chart of attempts.")
@click.option("-f", "--follow", is_flag=True, help="Go on as events are recorded, until the run has ended.")
@json_option
@runs_async
async def timeline(
    run_id: str,
    tenant_id: str | None,
    at: Point | None,
    step: str | None,
    since: Point | None,
    errors: bool,
    no_chart: bool,
    follow: bool,
    as_json: bool,
) -> None:
    """Show everything that happened in RUN, in order.

    With -f one entry per line, with --json one object per line; it ends when the run does. Ctrl-C
    ends it with exit code 130; a reader that has seen enough (`| head -1`) with 0.
    """
    if follow and at is not None:
        raise click.UsageError("--follow goes on from now, and --at looks back")
    async with open_tenant(tenant_id, projection="external") as tenant:
        audit = AuditQueries(tenant)
        if follow:
            with ends_with_its_reader():
                async for entry in audit.follow(run_id, step=step, since=since, errors=errors):
                    if as_json:
                        print_json_line(_ENTRY.dump_python(entry, mode="json"))
                    else:
                        out.print(entry_line(entry), soft_wrap=True)
            return
        found = await audit.timeline(run_id, at, step=step, since=since, errors=errors)
    if as_json:
        print_json(found)
    else:
        out.print(timeline_view(found, out.width, with_chart=not no_chart))


@click.command()
@run_argument
@tenant_option
@at_option
@click.option("--position", type=int, help="As --at N.")
@click.option("--version", type=int, help="As --at vN.")
@click.option("--time", type=POINT, help="As --at TIME, by when events were recorded.")
@json_option
@runs_async
async def state(
    run_id: str,
    tenant_id: str | None,
    at: Point | None,
    position: int | None,
    version: int | None,
    time: Point | None,
    as_json: bool,
) -> None:
    """Show the state of RUN, now or as of an earlier point, replayed from its events."""
    given = [
        at,
        time,
        None if position is None else Point(position=position),
        None if version is None else Point(version=version),
    ]
    if time is not None and time.time is None:
        raise click.UsageError(f"--time takes a time, not {time}")
    points = [point for point in given if point is not None]
    if len(points) > 1:
        raise click.UsageError("--at, --position, --version or --time, not several of them")
    async with open_tenant(tenant_id, projection="external") as tenant:
        found = await AuditQueries(tenant).state(run_id, *points)
    if as_json:
        print_json(found)
    else:
        out.print(state_view(found))


@click.command()
@click.argument("name", metavar="TABLE")
@tenant_option
@at_option
@click.option("--run", "run_id", metavar="RUN", help="Only this run's rows.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
@runs_async
async def table(
    name: str, tenant_id: str | None, at: Point | None, run_id: str | None, limit: int, as_json: bool
) -> None:
    """Show what a table (runs, steps, attempts, …) said at a point, folded from the events up to it.

    Without --run every event up to the point is read.
    """
    async with open_tenant(tenant_id, projection="external") as tenant:
        found = await AuditQueries(tenant).table_at(name, at, run_id=run_id, limit=limit)
    if as_json:
        print_json(found)
    else:
        out.print(rows_view(found, out.width))


@click.command()
@run_argument
@tenant_option
@at_option
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="A folder that is empty or not there yet.",
)
@json_option
@runs_async
async def replay(run_id: str, tenant_id: str | None, at: Point | None, folder: Path, as_json: bool) -> int:
    """Write the state, the timeline and the artifacts of RUN, as of a point, into a folder.

    Every body is hashed on its way; exit code 1 where one is missing or corrupt.
    """
    async with open_tenant(tenant_id, projection="external") as tenant:
        found = await AuditQueries(tenant).replay(run_id, folder, at)
    if as_json:
        print_json(found)
    else:
        out.print(replay_view(found))
    return 0 if found.ok else CHECK_FAILED


@click.command()
@run_argument
@click.argument("other", metavar="[OTHER]", required=False)
@tenant_option
@click.option("--from", "a", type=POINT, metavar="POINT", help="RUN as of this point.")
@click.option("--to", "b", type=POINT, metavar="POINT", help="OTHER, or RUN again, as of this point.")
@bodies_option
@json_option
@runs_async
async def diff(
    run_id: str,
    other: str | None,
    tenant_id: str | None,
    a: Point | None,
    b: Point | None,
    bodies: bool,
    as_json: bool,
) -> int:
    """Show what differs between RUN and OTHER, or in RUN between two points.

    With --bodies exit code 1 where one of them is not what its digest says.
    """
    if other is None and a is None and b is None:
        raise click.UsageError("Name another run, or a point with --from or --to")
    async with open_tenant(tenant_id, projection="external") as tenant:
        found = await AuditQueries(tenant).diff(run_id, a, b, other=other, bodies=bodies)
    if as_json:
        print_json(found)
    else:
        out.print(diff_view(found))
    return _checked(change.body for change in artifact_changes(found))


@click.command()
@run_argument
@click.argument("step_id", metavar="STEP")
@tenant_option
@bodies_option
@json_option
@runs_async
async def explain(run_id: str, step_id: str, tenant_id: str | None, bodies: bool, as_json: bool) -> int:
    """Explain one step of RUN: every attempt, its errors, whether a machine may retry it and why, its
    inputs, outputs, reports and repairs, and what waited for it.

    With --bodies exit code 1 where one of them is not what its digest says.
    """
    async with open_tenant(tenant_id, projection="external") as tenant:
        found = await AuditQueries(tenant).explain(run_id, step_id, bodies=bodies)
    if as_json:
        print_json(found)
    else:
        out.print(explain_view(found))
    return _checked(repair.change for repair in found.repairs)


def _checked(changes: Iterable[BodyChange | None]) -> int:
    return CHECK_FAILED if any(change and change.kind == "corrupt" for change in changes) else 0


@click.command()
@click.argument("digest_or_path", metavar="DIGEST|PATH")
@tenant_option
@click.option("--up", is_flag=True, help="Only what it was made from.")
@click.option("--down", is_flag=True, help="Only what was made from it.")
@click.option("--depth", type=click.IntRange(1), metavar="N", help="So many artifacts far.")
@click.option("--dot", is_flag=True, help="Print a Graphviz graph.")
@json_option
@runs_async
async def lineage(
    digest_or_path: str,
    tenant_id: str | None,
    up: bool,
    down: bool,
    depth: int | None,
    dot: bool,
    as_json: bool,
) -> None:
    """Show what an artifact was made from and what was made from it, across runs.

    DIGEST may be its first six digits or more.
    """
    if dot and as_json:
        raise click.UsageError("--dot or --json, not both")
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        direction: Direction = "both" if up == down else "up" if up else "down"
        found = await AuditQueries(tenant).lineage(digest_or_path, direction=direction, depth=depth)
    if dot:
        click.echo(lineage_dot(found))
    elif as_json:
        print_json(found)
    else:
        out.print(lineage_view(found))
