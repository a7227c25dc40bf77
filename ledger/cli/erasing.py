"""`daicho erase`: the one command that takes something out of the log."""

import click

from ledger.cli.running import (
    catch_up,
    json_option,
    open_tenant,
    out,
    print_json,
    runs_async,
    tell_usage,
    tenant_option,
)
from ledger.contract.events import RecordedEvent
from ledger.settings import Settings
from ledger.tenant import Tenant


@click.command()
@click.argument("position", type=int)
@tenant_option
@click.option("--by", required=True, metavar="WHO", help="Who erases; recorded.")
@click.option("--reason", required=True, metavar="WHY", help="Why; recorded, so name nothing that is to go.")
@click.option("--yes", is_flag=True, help="It is meant: without this nothing is erased.")
@json_option
@runs_async
async def erase(position: int, tenant_id: str | None, by: str, reason: str, yes: bool, as_json: bool) -> int:
    """Erase for good what the event at POSITION says.

    Its payload goes from the log and from every table; that it was recorded, and its place in proofs,
    stays, and a payload.erased says by whom and why. Erasing it again changes nothing.

    Not touched: bodies in the blob store that the payload names, the server's own write-ahead log and
    backups, and, until the next VACUUM, the old row on the server's disk.
    """
    async with open_tenant(tenant_id) as tenant:
        if not yes:
            what = await _what(tenant, position)
            return tell_usage(f"This would erase {what}, for good. Say --yes if so.")
        record = await tenant.erase_payload(position, by=by, reason=reason)
        await catch_up(tenant)
    if as_json:
        print_json(record.to_dict())
        return 0
    said = record.payload or {}
    out.print(f"Erased: position {position}, by {said.get('by')}: {said.get('reason')}", markup=False)
    out.print(f"Recorded at position {record.position}, {record.recorded_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if Settings().projection == "external":
        out.print("The tables lose it when their projector comes to that position.")
    return 0


async def _what(tenant: Tenant, position: int) -> str:
    found = await tenant.store.read(position - 1, limit=1) if position > 0 else []
    if not found or found[0].position != position:
        return f"position {position}, which is not there,"
    event: RecordedEvent = found[0]
    step = f" of step {event.step_id!r}" if event.step_id else ""
    return f"the payload of position {position} ({event.event_type}{step}, run {event.run_id!r})"
