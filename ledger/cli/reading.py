"""The command that tells how all tenants stand."""

import re
from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ledger.cli import render
from ledger.cli.running import CHECK_FAILED, json_option, open_ledger, out, print_json, runs_async
from ledger.inspection import TenantStatus, statuses

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """`90s`, `15m`, `2h`, `1d`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not a duration; expected 90s, 15m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.command()
@click.option(
    "--stuck-over", type=Duration(), metavar="15m", help="Also open runs that recorded nothing for as long."
)
@json_option
@runs_async
async def status(stuck_over: float | None, as_json: bool) -> int:
    """Show how every tenant stands: head, tables, bodies, size, schema, and what is wrong.

    Exit code 1 where something is wrong: a projection that stopped, an operation that was interrupted, a
    schema to migrate, a server out of reach, a run that is stuck.
    """
    async with open_ledger(projection="external") as ledger:
        found = await statuses(ledger, stuck_over_seconds=stuck_over)
    if as_json:
        print_json([each.to_dict() for each in found])
    else:
        out.print(_table(found))
        for each in found:
            _show_notes(each)
    return CHECK_FAILED if any(each.problems for each in found) else 0


def _table(found: Sequence[TenantStatus]) -> Table:
    numbers = ("#events", "#lag", "sealed", "#bodies", "#dedup", "#size", "schema")
    made = render.table("tenant", "name", "status", "server", *numbers)
    for each in found:
        size = "" if each.database_bytes is None else render.size(each.database_bytes)
        made.add_row(
            each.tenant_id,
            each.name,
            each.status,
            each.server,
            _number(each.head),
            _number(each.lag),
            each.last_seal or "never",
            *render.usage_cells(each.blobs),
            size,
            each.schema_revision or "",
        )
    return made


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _show_notes(each: TenantStatus) -> None:
    standing = [projection.to_dict() for projection in each.projections]
    for note in render.standing_notes(each.tenant_id, each.leader, standing):
        out.print(note)
    if each.operation is not None:
        since = render.local_time(each.operation["updated_at"])
        out.print(
            Text(f"{each.tenant_id}: {each.operation['kind']} goes on, or was interrupted, since {since}")
        )
    for problem in each.problems:
        if not problem.what.startswith("projection "):  # told above
            out.print(render.problem(each.tenant_id, problem.what, problem.fix))
