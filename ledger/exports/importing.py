"""Importing: a new tenant whose log is that of a file of jsonl, to the last byte.

The file holds a whole log, from position 1 without gaps. It is read twice: to be checked before anything is
written, and to be copied. Bodies are not in it: `daicho tenant export` has those too.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.composition import Ledger
from ledger.control.operations import operating
from ledger.control.provisioning import provision
from ledger.errors import ArchiveDamaged, ArchiveUnreadable
from ledger.exports.jsonl import event_of
from ledger.exports.rows import PAGE_EVENTS, StoredEvent
from ledger.lifecycle.importing import finish_import, require_free
from ledger.lifecycle.log_copy import head_of, require_whole, write_events
from ledger.lifecycle.progress import Progress, silent
from ledger.store.tenant_database import Role, TenantDatabase
from projections import Projector

_AGAIN = "Use the file as it was exported; nothing was imported"


@dataclass(frozen=True)
class EventsImported:
    """`former_id` is the tenant's that the file was exported from; `position` is the new log's head."""

    tenant_id: str
    former_id: str
    position: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Checked:
    digest: str
    tenant_id: str
    head: int


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

    Raises ArchiveUnreadable, ArchiveDamaged, InvalidName, TenantConflict, TenantBusy before anything is
    written; TenantCopyDiffers where a payload does not meet its commitment.
    """
    progress("checking the file", 0, 0)
    found = await asyncio.to_thread(_checked, path)
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
                progress("events", new[-1].position, upto)
        await require_whole(owner, f"the file {path}")
    finally:
        await owner.close()


def _checked(path: Path) -> _Checked:
    digest, tenant_id, expected = sha256(), "", 1
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                whose, event = event_of(expected, line)
                if event.position != expected:
                    raise ArchiveDamaged(
                        f"Line {expected} of {path} is position {event.position}",
                        expected="a whole log: every position from 1 on, in order",
                        fix="Export without --run, --since and --until; nothing was imported",
                    )
                if whose != tenant_id and tenant_id:
                    said = f"Line {expected} of {path} is of tenant {whose!r}"
                    raise ArchiveDamaged(said, expected=f"one of {tenant_id!r}", fix=_AGAIN)
                tenant_id, expected = whose, expected + 1
    except OSError as error:
        raise ArchiveUnreadable(f"{path} cannot be read: {error.strerror or error}") from None
    if not tenant_id:
        raise ArchiveUnreadable(f"{path} holds no event", expected="a file of `daicho export --format jsonl`")
    return _Checked(digest.hexdigest(), tenant_id, expected - 1)


def _pages(path: Path) -> Iterator[list[StoredEvent]]:
    page: list[StoredEvent] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            page.append(event_of(number, line)[1])
            if len(page) == PAGE_EVENTS:
                yield page
                page = []
    if page:
        yield page
