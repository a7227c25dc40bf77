"""The command that tells how all tenants stand."""

from typing import Any

import click

from ledger.cli import render
from ledger.cli.running import (
    json_option,
    open_ledger,
    out,
    print_json,
    runs_async,
)
from projections.following.leadership import leaders
from projections.installed import installed_projections
from projections.listing import blob_usage
from projections.standing import standings


@click.command()
@json_option
@runs_async
async def status(as_json: bool) -> None:
    """Show every tenant with its head and how far its tables have come."""
    projections = installed_projections()
    async with open_ledger(projection="external") as ledger:
        records = await ledger.tenants.list()
        led_by = await leaders(ledger.server, [record.tenant_id for record in records])
        found: list[dict[str, Any]] = []
        for record in records:
            row: dict[str, Any] = {name: getattr(record, name) for name in ("tenant_id", "name", "status")}
            if record.status == "active":
                tenant = await ledger.tenant(record.tenant_id)
                head, position = await tenant.store.head(), await tenant.projected_position()
                row |= {"head": head, "projected": position, "lag": head - position}
                row["leader"] = led_by.get(record.tenant_id)
                row["projections"] = [each.to_dict() for each in await standings(tenant, projections)]
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
    for row in found:
        for note in render.standing_notes(row["tenant_id"], row.get("leader"), row.get("projections", ())):
            out.print(note)
