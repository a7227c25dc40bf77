"""Export: one archive of a tenant as it was at one position, while its writers go on.

The tables are brought up to the head and folded afresh; the position they are at is the archive's. What is
recorded after it is not in the archive. Bodies come last: whatever an exported event refers to was durable
before the event was, so it is there.
"""

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blobstore import BlobNotFound, BlobStat, BlobStore, Digest
from ledger.composition import Ledger
from ledger.control.audit import record_act, this_actor
from ledger.control.migrations import head_revision
from ledger.control.operations import require_idle
from ledger.errors import TenantCopyDiffers
from ledger.lifecycle.archive.manifest import Checkpoints, Manifest, TableCheckpoint
from ledger.lifecycle.archive.reader import blob_member
from ledger.lifecycle.archive.writer import ArchiveWriter
from ledger.lifecycle.log_copy import Rows, read_events, read_table
from ledger.lifecycle.log_tables import EVENTS, SNAPSHOTS, TRACKING
from ledger.lifecycle.progress import Progress, silent
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from ledger.tenant import Tenant
from ledger.upkeep.references import mentions, references
from projections import Projector, verify
from projections.core import CORE

_EVENT_TYPE, _PAYLOAD = (list(EVENTS.columns).index(name) for name in ("event_type", "payload"))


@dataclass(frozen=True)
class ExportReport:
    """`position` is the last event's in the archive; sizes are in bytes."""

    tenant_id: str
    path: str
    position: int
    blobs: int
    blob_bytes: int
    archive_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def export_tenant(
    ledger: Ledger,
    tenant_id: str,
    path: Path,
    *,
    by: str | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> ExportReport:
    """Writes the archive of a tenant, active or suspended, to `path`, where nothing may be yet.

    Raises TenantNotFound, TenantBusy, ArchiveExists, ArchiveUnwritable, TenantCopyDiffers where a body is
    missing, StoreUnavailable, BlobStoreUnavailable. Then no file of this name is there.
    """
    record = await ledger.tenants.catalogue.get(tenant_id)
    await require_idle(ledger.tenants.catalogue, tenant_id)
    tenant = await ledger.tenant(tenant_id, for_reading=True)
    checkpoint = await _checkpoint(tenant, progress)
    connection = await tenant.database.connect(Role.READER)
    try:
        with ArchiveWriter(path) as archive:
            manifest = Manifest(
                daicho_version=version("daicho"),
                schema_revision=head_revision("tenant"),
                tenant_id=tenant_id,
                name=record.name,
                former_ids=record.former_ids,
                exported_at=datetime.now(UTC),
                exported_by=by or this_actor(),
                head_position=checkpoint.position,
            )
            archive.add("manifest.json", manifest.model_dump_json(indent=2).encode())
            named = await _write_log(archive, connection, checkpoint.position, progress)
            checkpoints = Checkpoints(projections=(checkpoint,))
            archive.add("checkpoints.json", checkpoints.model_dump_json(indent=2).encode())
            blobs, blob_bytes = await _write_blobs(archive, tenant.blobs, named, progress)
    finally:
        await connection.close()
    archive_bytes = (await asyncio.to_thread(path.stat)).st_size
    report = ExportReport(tenant_id, str(path), checkpoint.position, blobs, blob_bytes, archive_bytes)
    async with ledger.tenants.catalogue.changing() as connection:
        details = {"position": report.position, "file": path.name, "blobs": blobs}
        await record_act(
            connection, by, "tenant.exported", f"tenant:{tenant_id}", reason=reason, details=details
        )
    return report


async def _checkpoint(tenant: Tenant, progress: Progress) -> TableCheckpoint:
    """The tables' digests as a fresh fold makes them: it is the log that is exported, and they follow."""
    await Projector(tenant.store).catch_up()
    report = await verify(tenant, progress=progress)
    return TableCheckpoint(
        projection=report.projection,
        version=CORE.version,
        position=report.position,
        rows={name: table.rows for name, table in report.tables.items()},
        digests={name: table.folded_digest for name, table in report.tables.items()},
    )


@dataclass
class _Named:
    """Digests that events name, 32 bytes each: those that must be there, and those that may be."""

    referred: set[bytes]
    mentioned: set[bytes]

    def take(self, rows: Rows) -> None:
        for row in rows:
            if (payload := row[_PAYLOAD]) is not None:
                self.mentioned.update(bytes.fromhex(digest) for digest in mentions(payload))
                self.referred.update(
                    bytes.fromhex(digest) for digest, _size in references(row[_EVENT_TYPE], payload)
                )


async def _write_log(archive: ArchiveWriter, connection: Connection, upto: int, progress: Progress) -> _Named:
    named = _Named(set(), set())
    async for rows in read_events(connection, 0, upto):
        name = f"events/{rows[0][0]:012d}.jsonl.gz"
        await asyncio.to_thread(_write_rows, archive, name, rows, named)
        progress("events", rows[-1][0], upto)
    for table in (SNAPSHOTS, TRACKING):
        number = 1
        async for rows in read_table(connection, table):
            lines = [table.line(row) for row in rows]
            await asyncio.to_thread(archive.add_lines, f"{table.name}/{number:012d}.jsonl.gz", lines)
            number += len(rows)
    return named


def _write_rows(archive: ArchiveWriter, name: str, rows: Rows, named: _Named) -> None:
    archive.add_lines(name, [EVENTS.line(row) for row in rows])
    named.take(rows)


async def _write_blobs(
    archive: ArchiveWriter, store: BlobStore, named: _Named, progress: Progress
) -> tuple[int, int]:
    count = size = 0
    missing = set(named.referred)
    async for stat in store.iterate():
        raw = bytes.fromhex(stat.digest)
        if raw in named.mentioned:
            await _write_blob(archive, store, stat)
            missing.discard(raw)
            count, size = count + 1, size + stat.size_bytes
            progress("bodies", count, max(count, len(named.referred)))
    if missing:
        raise TenantCopyDiffers(
            f"{len(missing)} bodies that events refer to are not in the blob store",
            found=f"no blob {min(missing).hex()}",
            fix="`daicho blob fsck` names them all, and the runs that need them; nothing was exported",
        )
    return count, size


async def _write_blob(archive: ArchiveWriter, store: BlobStore, stat: BlobStat) -> None:
    try:
        async with (
            store.open(Digest(stat.digest)) as chunks,
            archive.member(blob_member(stat.digest), stat.size_bytes) as member,
        ):
            async for chunk in chunks:
                await member.write(chunk)
    except BlobNotFound as error:
        raise TenantCopyDiffers(
            f"The blob {stat.digest} went while it was exported", fix="Export again; nothing was exported"
        ) from error
