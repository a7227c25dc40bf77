"""Importing: a new tenant whose log is that of a file of jsonl, to the last byte.

The file holds a whole log, from position 1 without gaps. It is read twice: to be checked before anything is
written, and to be copied. Bodies are not in it: `daicho tenant export` has those too.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.composition import Ledger
from ledger.control.operations import operating
from ledger.control.provisioning import provision
from ledger.exports.checking import checked
from ledger.exports.jsonl import line_of_text
from ledger.exports.rows import PAGE_EVENTS, StoredEvent
from ledger.lifecycle.importing import finish_import, require_free
from ledger.lifecycle.log_copy import head_of, require_whole, write_events
from ledger.lifecycle.progress import Progress, silent
from ledger.store.tenant_database import Role, TenantDatabase
from projections import Projector


@dataclass(frozen=True)
class EventsImported:
    """`former_id` is the tenant's that the file was exported from; `position` is the new log's head."""

    tenant_id: str
    former_id: str
    position: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def import_events(
    ledger: Ledger,
    path: Path,
    tenant_id: str,
    *,
    name: str | None = None,
    server: str | None = None,
    by: str | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> EventsImported:
    """Makes tenant `tenant_id` of the jsonl at `path`; asked for again, it finishes what was interrupted.

    Raises ArchiveUnreadable, ArchiveDamaged, SortingFailed, InvalidName, TenantConflict, TenantBusy before
    anything is written; TenantCopyDiffers where a payload was erased and nothing says so.
    """
    progress("checking the file", 0, 0)
    found = await asyncio.to_thread(checked, path)
    await require_free(ledger, tenant_id, found.digest)
    record = await ledger.tenants.reserve(tenant_id, name or tenant_id, server=server, by=by)
    state = {"archive": found.digest}
    async with operating(
        ledger.tenants.catalogue, tenant_id, "import", "provision", state=state, status="importing", by=by
    ) as operation:
        database = await ledger.tenants.servers.database(record)
        tenant = await ledger.handle(record, database)
        try:
            await provision(database)
            await _write(path, database, found.head, progress)
            await Projector(tenant.store).catch_up()
        finally:
            await tenant.close()
        details = {"archive": found.digest, "position": found.head, "former_ids": [found.tenant_id]}
        await finish_import(operation, details, reason)
    return EventsImported(tenant_id, found.tenant_id, found.head)


async def _write(path: Path, database: TenantDatabase, upto: int, progress: Progress) -> None:
    owner = await database.connect(Role.OWNER)
    try:
        head = await head_of(owner)
        pages = _pages(path)
        while (events := await asyncio.to_thread(next, pages, None)) is not None:
            new = [event for event in events if event.position > head]  # the others were before a kill
            if new:
                await write_events(owner, new)
                progress("importing", new[-1].position, upto)
        await require_whole(owner, f"the file {path}")
    finally:
        await owner.close()


def _pages(path: Path) -> Iterator[list[StoredEvent]]:
    page: list[StoredEvent] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            page.append(line_of_text(number, line).event)
            if len(page) == PAGE_EVENTS:
                yield page
                page = []
    if page:
        yield page
