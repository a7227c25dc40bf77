"""Delete: a tenant's database, roles and bodies go; its row stays, so that its id is never given again.

Not before it was exported as it is now, unless whoever asks says that it need not be.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ledger.composition import Ledger
from ledger.control.catalogue import TenantRecord
from ledger.control.fence import keep_writers_out, let_writers_in
from ledger.control.operations import Operation, operating
from ledger.errors import TenantKept, TenantNotFound
from ledger.lifecycle.databases import drop_database, head_of_database
from ledger.lifecycle.progress import Progress, silent
from ledger.store.statements import load_statements
from ledger.store.tenant_database import TenantDatabase

_SQL = load_statements("ledger.lifecycle", "queries.sql")


@dataclass(frozen=True)
class DeletionReport:
    """`already` is true where the tenant had been deleted before."""

    tenant_id: str
    already: bool
    blobs: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def delete_tenant(
    ledger: Ledger,
    tenant_id: str,
    *,
    without_export: bool = False,
    by: str | None = None,
    reason: str | None = None,
    progress: Progress = silent,
) -> DeletionReport:
    """Deletes a tenant for good, also one whose making or import was interrupted; asked for again, it
    finishes what was interrupted.

    Raises TenantNotFound, TenantBusy, TenantKept where its last export is missing or older than its last
    event, StoreUnavailable, BlobStoreUnavailable.
    """
    record = await ledger.tenants.catalogue.find(tenant_id)
    if record is None:
        raise TenantNotFound(f"There is no tenant {tenant_id!r}", fix="`daicho tenant list` shows all")
    if record.status == "deleted":
        return DeletionReport(tenant_id, already=True)
    database = await ledger.tenants.servers.database(record)
    is_whole = record.status not in {"creating", "importing"}
    if is_whole and not without_export and record.status != "deleting":
        await _require_exported(ledger, database)
    await ledger.release(tenant_id)
    async with operating(
        ledger.tenants.catalogue,
        tenant_id,
        "delete",
        "fence" if is_whole else "drop",
        state={"was": record.status, "without_export": without_export},
        status="deleting",
        instead_of="import",
        by=by,
    ) as operation:
        if operation.step == "fence":
            await _fence(ledger, operation, database)
        progress("database", 0, 1)
        await drop_database(database)
        blobs = await _delete_blobs(ledger, record, progress)
        details = {"blobs": blobs, "without_export": operation.state["without_export"]}
        async with operation.finishing("tenant.deleted", reason=reason, details=details) as connection:
            await connection.execute(_SQL["set_status"], tenant_id, "deleted")
    return DeletionReport(tenant_id, already=False, blobs=blobs)


async def _fence(ledger: Ledger, operation: Operation, database: TenantDatabase) -> None:
    """From here on nothing is recorded; what was, since it was looked at, keeps the tenant."""
    await keep_writers_out(database)
    if not operation.state["without_export"]:
        try:
            await _require_exported(ledger, database)
        except TenantKept:
            was = operation.state["was"]
            if was == "active":
                await let_writers_in(database)
            await operation.take_back(was, "tenant.deletion_refused", reason="it went on since its export")
            raise
    await operation.advance("drop")


async def _require_exported(ledger: Ledger, database: TenantDatabase) -> None:
    rows = await ledger.tenants.catalogue.ask(_SQL["last_export"], database.tenant_id)
    exported, head = rows[0][0] if rows else None, await head_of_database(database)
    if exported is None or exported < head:
        export = f"`daicho tenant export {database.tenant_id} FILE`"
        raise TenantKept(
            f"Tenant {database.tenant_id!r} was not exported as it is now",
            expected=f"an archive up to position {head}",
            found="none" if exported is None else f"one up to position {exported}",
            fix=f"Make one with {export}, or say --no-export; nothing was deleted",
        )


async def _delete_blobs(ledger: Ledger, record: TenantRecord, progress: Progress) -> int:
    store = ledger.blobs.store(record.blob_prefix)
    count = 0
    try:
        async for stat in store.iterate():
            await store.delete(stat.digest)
            count += 1
            progress("bodies", count, count)
        await store.clear_unfinished(0)
    finally:
        await store.close()
    return count
