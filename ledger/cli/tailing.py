"""`daicho tail`: events in order of position, those that are there and, with -f, those that come."""

from contextlib import aclosing

import click

from ledger.cli import render
from ledger.cli.piping import ends_with_its_reader
from ledger.cli.running import json_option, open_tenant, print_json_line, runs_async, tenant_option
from ledger.contract.event_type import EventType
from ledger.contract.events import RecordedEvent
from ledger.tenant import Tenant
from projections.audit import AuditQueries

LINES_DEFAULT = 20
LINES_MAX = 10_000


@click.command()
@tenant_option
@click.option("-f", "--follow", is_flag=True, help="Go on with events as they are recorded, until Ctrl-C.")
@click.option("--after", type=click.IntRange(0), metavar="N", help="Only events after position N.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, LINES_MAX),
    help=f"Begin with the last so many events. [default: {LINES_DEFAULT}; with --after: all]",
)
@click.option("--run", "run_id", metavar="RUN", help="Only events of this run.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; repeatable.")
@json_option
@runs_async
async def tail(
    tenant_id: str | None,
    follow: bool,
    after: int | None,
    lines: int | None,
    run_id: str | None,
    types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the last events in order of position, one per line.

    Ctrl-C ends -f with exit code 130; a reader that has seen enough (`| head -1`) ends it with 0.
    """
    async with open_tenant(tenant_id, projection="external") as tenant:
        await AuditQueries(tenant).require_types(types)
        with ends_with_its_reader():
            await _tail(tenant, follow, after, lines, run_id, types or None, as_json)


async def _tail(
    tenant: Tenant,
    follow: bool,
    after: int | None,
    lines: int | None,
    run_id: str | None,
    types: tuple[str, ...] | None,
    as_json: bool,
) -> None:
    begin, upto = after or 0, await tenant.store.head()
    if after is None or lines is not None:
        count = LINES_DEFAULT if lines is None else lines
        last = await tenant.store.read_last(count, after=begin, upto=upto, run_id=run_id, types=types)
        for event in last:
            _print_event(event, as_json)
        begin = max(begin, upto)
    events = tenant.store.subscribe(begin, upto=None if follow else upto, run_id=run_id, types=types)
    async with aclosing(events):
        async for event in events:
            _print_event(event, as_json)


def _print_event(event: RecordedEvent, as_json: bool) -> None:
    if as_json:
        print_json_line(event.to_dict())
        return
    step = f" {event.step_id}#{event.attempt or 1}" if event.step_id else ""
    at = render.local_time(event.recorded_at)
    line = f"{event.position:>8}  {at}  {event.event_type:<18} {event.run_id}{step}{_remark(event)}"
    # Topics and streams of other applications are free text, which must not steer the terminal.
    click.echo("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line))


def _remark(event: RecordedEvent) -> str:
    if event.data is None:
        return "  [payload erased]"
    if not isinstance(event.event_type, EventType):
        return f"  [{len(event.data)} bytes of another application]"
    return ""
