"""Commands that read: timeline, state, status."""

from datetime import datetime
from typing import Any

import click

from ledger.cli import render
from ledger.cli.running import (
    catch_up,
    json_option,
    open_ledger,
    open_tenant,
    out,
    print_json,
    runs_async,
    tenant_option,
)
from projections.audit import AuditQueries
from projections.listing import blob_usage


class AwareTime(click.ParamType[datetime]):
    """ISO 8601; without an offset it is in the reader's own zone."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; expected ISO 8601, as 2026-11-24T12:00:00+01:00", param, ctx)


@click.command()
@click.argument("run_id", metavar="RUN")
@tenant_option
@json_option
@runs_async
async def timeline(run_id: str, tenant_id: str | None, as_json: bool) -> None:
    """Show everything that happened in RUN, in order."""
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        found = await AuditQueries(tenant).timeline(run_id)
    if as_json:
        print_json(found)
    else:
        out.print(render.timeline_table(found))


@click.command()
@click.argument("run_id", metavar="RUN")
@tenant_option
@click.option("--position", type=int, help="As of this position.")
@click.option("--time", type=AwareTime(), help="As of this time (ISO 8601), by when events were recorded.")
@json_option
@runs_async
async def state(
    run_id: str, tenant_id: str | None, position: int | None, time: datetime | None, as_json: bool
) -> None:
    """Show the state of RUN, now or as of an earlier point, replayed from its events."""
    if position is not None and time is not None:
        raise click.UsageError("--position or --time, not both")
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        audit = AuditQueries(tenant)
        found = await audit.state_at(run_id, position=position, time=time)
        erasures = await audit.erasures(run_id, position=position, time=time)
    if as_json:
        print_json(render.state_json(found, erasures))
    else:
        out.print(render.state_view(found, erasures))


@click.command()
@json_option
@runs_async
async def status(as_json: bool) -> None:
    """Show every tenant with its head and how far its tables have come."""
    async with open_ledger(projection="external") as ledger:
        records = await ledger.tenants.list()
        found: list[dict[str, Any]] = []
        for record in records:
            row: dict[str, Any] = {name: getattr(record, name) for name in ("tenant_id", "name", "status")}
            if record.status == "active":
                tenant = await ledger.tenant(record.tenant_id)
                head, position = await tenant.store.head(), await tenant.projected_position()
                row |= {"head": head, "projected": position, "lag": head - position}
                row["blobs"] = (await blob_usage(tenant)).to_dict()
            found.append(row)
    if as_json:
        print_json(found)
        return
    made = render.table("tenant", "name", "status", "#head", "#projected", "#lag", "#bodies", "#dedup")
    columns_ = ("tenant_id", "name", "status", "head", "projected", "lag")
    for row in found:
        made.add_row(*(str(row.get(name, "")) for name in columns_), *render.usage_cells(row.get("blobs")))
    out.print(made)
