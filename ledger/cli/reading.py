"""Commands that read: runs, timeline, state, status, blob get."""

import sys

import click

from blobstore import BlobNotFound, parse_digest
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
from ledger.contract.artifact_ref import ROOT
from ledger.settings import Settings
from ledger.tenant import Tenant
from projections.listing import list_runs, newest_digest
from projections.rows import columns

STATUSES = ["running", "succeeded", "failed", "cancelled", "not_started"]


@click.command()
@tenant_option
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@runs_async
async def runs(tenant_id: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List runs, the newest first."""
    async with open_tenant(tenant_id) as tenant:
        await catch_up(tenant)
        found = await list_runs(tenant, status=status, limit=limit)
    if as_json:
        print_json([{name: getattr(run, name) for name in columns(type(run))} for run in found])
    elif found:
        out.print(render.runs_table(found))
    else:
        out.print("No runs yet." if status is None else f"No runs that are {status}.")


@click.command()
@json_option
@runs_async
async def status(as_json: bool) -> None:
    """Show every tenant with its head and how far its tables have come."""
    async with open_ledger(projection="external") as ledger:
        records = await ledger.tenants.list()
        found: list[dict[str, object]] = []
        for record in records:
            row: dict[str, object] = {name: getattr(record, name) for name in ("tenant_id", "name", "status")}
            if record.status == "active":
                tenant = await ledger.tenant(record.tenant_id)
                head, position = await tenant.store.head(), await tenant.projected_position()
                row |= {"head": head, "projected": position, "lag": head - position}
            found.append(row)
    if as_json:
        print_json(found)
        return
    made = render.table("tenant", "name", "status", "#head", "#projected", "#lag")
    columns_ = ("tenant_id", "name", "status", "head", "projected", "lag")
    for row in found:
        made.add_row(*(str(row.get(name, "")) for name in columns_))
    out.print(made)


@click.group()
def blob() -> None:
    """Artifact bodies."""


@blob.command("get")
@click.argument("digest_or_path", metavar="DIGEST|PATH")
@tenant_option
@runs_async
async def blob_get(digest_or_path: str, tenant_id: str | None) -> None:
    """Write a body to standard output; its digest is checked."""
    async with open_tenant(tenant_id) as tenant:
        digest = await _digest_of(tenant, digest_or_path)
        content = await tenant.blobs.get(parse_digest(digest))
    sys.stdout.buffer.write(content)


async def _digest_of(tenant: Tenant, digest_or_path: str) -> str:
    if not digest_or_path.startswith(f"{ROOT}/"):
        return digest_or_path
    await catch_up(tenant, Settings())
    newest = await newest_digest(tenant, digest_or_path)
    if newest is None:
        problem = f"No artifact is recorded at {digest_or_path!r}"
        raise BlobNotFound(problem, fix="`daicho timeline` shows a run's")
    return newest
