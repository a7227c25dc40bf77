"""Import: a tenant under a new id, made from an archive.

The log comes in as it was, to the last byte; only whose it is differs. Paths of artifacts in it name the id
that the tenant had, which the catalogue keeps among its former ids. Bodies come in before events, and the
tenant is one only when its log is whole and its tables have the digests of the archive.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.composition import Ledger
from ledger.control.migrations import head_revision
from ledger.control.operations import Operation, operating, state_of
from ledger.control.provisioning import provision
from ledger.errors import ArchiveDamaged, MigrationNeeded, TenantConflict, TenantCopyDiffers
from ledger.lifecycle.archive.reader import ArchiveReader
from ledger.lifecycle.log_copy import Rows, head_of, replace_table, require_whole, write_events
from ledger.lifecycle.log_tables import EVENTS, SNAPSHOTS, TRACKING, LogTable
from ledger.lifecycle.progress import Progress, silent
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role, TenantDatabase
from ledger.tenant import Tenant
from projections import Projector, verify
from projections.core import CORE

_SQL = load_statements("ledger.lifecycle", "queries.sql")


@dataclass(frozen=True)
class ImportReport:
    """`tables_compared` is false where the archive was made by a version whose tables look different."""

    tenant_id: str
    former_id: str
    database: str
    position: int
    blobs: int
    tables_compared: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def import_tenant(
    ledger: Ledger,
    path: Path,
    tenant_id: str,
    *,
    name: str | None = None,
    server: str | None = None,
    by: str | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Makes tenant `tenant_id` of the archive at `path`, on the server that the rule of placement or `server`
    says; asked for again, it finishes what was interrupted.

    Raises ArchiveUnreadable, ArchiveDamaged, InvalidName, TenantConflict, TenantBusy, MigrationNeeded before
    anything is written; TenantCopyDiffers where what came in is not what went out.
    """
    progress("checking the archive", 0, 1)
    archive = await asyncio.to_thread(ArchiveReader.open, path)
    with archive:
        _require_readable(archive)
        name = archive.manifest.name if name is None else name
        await require_free(ledger, tenant_id, archive.digest)
        record = await ledger.tenants.reserve(tenant_id, name, server=server, by=by)
        state = {"archive": archive.digest}
        async with operating(
            ledger.tenants.catalogue, tenant_id, "import", "provision", state=state, status="importing", by=by
        ) as operation:
            database = await ledger.tenants.servers.database(record)
            tenant = await ledger.handle(record, database)
            try:
                await provision(database)
                blobs = await _put_blobs(archive, tenant, progress)
                await _write_log(archive, database, progress)
                tables_compared = await _compare_tables(archive, tenant, progress)
            finally:
                await tenant.close()
            await finish_import(operation, _details(archive), reason)
    return ImportReport(
        tenant_id=tenant_id,
        former_id=archive.manifest.tenant_id,
        database=database.name,
        position=archive.manifest.head_position,
        blobs=blobs,
        tables_compared=tables_compared,
    )


def _require_readable(archive: ArchiveReader) -> None:
    revision = archive.manifest.schema_revision
    if revision > head_revision("tenant"):
        raise MigrationNeeded(
            f"{archive.path} was exported at a later schema revision than this code's",
            expected=f"at most revision {head_revision('tenant')}",
            found=f"revision {revision}, daicho {archive.manifest.daicho_version}",
            fix="Import it with that version; nothing was written",
        )


async def require_free(ledger: Ledger, tenant_id: str, archive_digest: str) -> None:
    """Nothing of the name, or this import of it, interrupted."""
    found = await ledger.tenants.catalogue.find(tenant_id)
    if found is None or found.status == "creating":
        return
    state = await state_of(ledger.tenants.catalogue, tenant_id, "import")
    if found.status != "importing" or state is None:
        raise TenantConflict(
            f"Tenant {tenant_id!r} is there already" + (", deleted" if found.status == "deleted" else ""),
            expected="an id that no tenant has or had",
            fix="Import it under another id; nothing was written",
        )
    if state["archive"] != archive_digest:
        raise TenantConflict(
            f"An import of another archive as {tenant_id!r} was interrupted",
            fix=f"Finish that one, or delete what there is of it: `daicho tenant delete {tenant_id}`",
        )


async def _put_blobs(archive: ArchiveReader, tenant: Tenant, progress: Progress) -> int:
    blobs = list(archive.blobs())
    for done, (digest, _size) in enumerate(blobs, 1):
        stored = await tenant.blobs.put(_streamed(archive.blob(digest)))
        if stored != digest:
            raise ArchiveDamaged(
                f"A body of {archive.path} is not what its name says",
                expected=f"sha256 {digest}",
                found=f"sha256 {stored}",
                fix="Use the archive as it was exported; the tenant is not there",
            )
        progress("bodies", done, len(blobs))
    return len(blobs)


async def _streamed(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.to_thread(next, chunks, b"")) != b"":
        yield chunk


async def _write_log(archive: ArchiveReader, database: TenantDatabase, progress: Progress) -> None:
    owner = await database.connect(Role.OWNER)
    try:
        head = await head_of(owner)
        async for rows in _in_threads(archive, EVENTS):
            if rows and rows[-1][0] > head:  # the members before were written before a kill
                await write_events(owner, [row for row in rows if row[0] > head])
                progress("events", rows[-1][0], archive.manifest.head_position)
        for table in (SNAPSHOTS, TRACKING):
            await replace_table(owner, table, _in_threads(archive, table))
        await require_whole(owner, f"the archive {archive.path}")
        found = await head_of(owner)
    finally:
        await owner.close()
    if found != archive.manifest.head_position:
        raise TenantCopyDiffers(
            f"The log of {archive.path} does not end where its manifest says",
            expected=f"position {archive.manifest.head_position}",
            found=f"position {found}",
            fix="Use the archive as it was exported; the tenant is not there",
        )


async def _in_threads(archive: ArchiveReader, table: LogTable) -> AsyncIterator[Rows]:
    members = archive.rows(table)
    while (rows := await asyncio.to_thread(next, members, None)) is not None:
        if rows:
            yield rows


async def _compare_tables(archive: ArchiveReader, tenant: Tenant, progress: Progress) -> bool:
    await Projector(tenant.store).catch_up()
    report = await verify(tenant, progress=progress)
    for checkpoint in archive.checkpoints.projections:
        if (checkpoint.projection, checkpoint.version) != (report.projection, CORE.version):
            continue
        found = {name: table.live_digest for name, table in report.tables.items()}
        differing = [name for name, digest in checkpoint.digests.items() if found.get(name) != digest]
        if differing or not report.ok:
            raise TenantCopyDiffers(
                f"The tables made from {archive.path} are not those that it was exported with",
                expected="equal digests of every table",
                found=f"others of {', '.join(differing) or 'a fresh fold'}",
                fix="Report it, with the archive if you may; the tenant is not there",
            )
        return True
    return False


def _details(archive: ArchiveReader) -> dict[str, Any]:
    manifest = archive.manifest
    return {
        "archive": archive.digest,
        "position": manifest.head_position,
        "former_ids": [*manifest.former_ids, manifest.tenant_id],
        "exported_by": manifest.exported_by,
    }


async def finish_import(operation: Operation, details: dict[str, Any], reason: str | None) -> None:
    """The tenant is one from now on; `details` names the `former_ids` that paths of artifacts may hold."""
    async with operation.finishing("tenant.imported", reason=reason, details=details) as connection:
        await connection.execute(_SQL["set_former_ids"], operation.tenant_id, details["former_ids"])
        await connection.execute(_SQL["set_status"], operation.tenant_id, "active")
