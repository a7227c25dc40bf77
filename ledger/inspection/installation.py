"""What the doctor looks at: servers, tenants' guards, the blob store, this machine."""

import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from blobstore import BlobBackend
from ledger.composition import blob_backend
from ledger.control.catalogue import Catalogue, TenantRecord
from ledger.control.fence import are_writers_out
from ledger.control.guards import Finding, inspect_server, inspect_tenant
from ledger.control.servers import DatabaseServers
from ledger.errors import DaichoError
from ledger.settings import Settings
from ledger.store.server import DatabaseServer

FREE_BYTES_MIN = 2**30
FREE_SHARE_MIN = 0.05


async def inspect_installation(
    settings: Settings, control: DatabaseServer, catalogue: Catalogue, tenants: Sequence[TenantRecord]
) -> AsyncIterator[Finding]:
    """Everything that is not as daicho needs it, of the servers and stores and of these tenants. Raises
    StoreUnavailable where the control database is out of reach."""
    for finding in await inspect_server(control):
        yield finding
    servers = DatabaseServers(control, catalogue)
    out_of_reach: set[str] = set()
    for record in await servers.list():
        if record.address is not None:
            for finding in await _of_server(servers, record.server_name, out_of_reach):
                yield finding
    for finding in await _of_blobs(settings):
        yield finding
    for finding in _of_disks(_folders(settings)):
        yield finding
    for tenant in tenants:
        if tenant.server_name not in out_of_reach:
            for finding in await _of_tenant(tenant, servers):
                yield finding


async def _of_server(servers: DatabaseServers, name: str, out_of_reach: set[str]) -> list[Finding]:
    try:
        found = await inspect_server(await servers.get(name))
    except DaichoError as error:
        out_of_reach.add(name)
        fix = error.fix or f"See that server {name} runs and lets daicho in"
        return [Finding(f"server {name}", f"{error.problem}; its tenants were not looked at", fix)]
    return [Finding(f"server {name}: {each.guard}", each.problem, each.fix) for each in found]


async def _of_blobs(settings: Settings) -> list[Finding]:
    backend: BlobBackend | None = None
    try:
        backend = blob_backend(settings)
        await backend.check()
    except DaichoError as error:
        what = "blob store" if backend is None else f"blob store {backend.describe()}"
        return [Finding(what, error.problem, error.fix or "Run `daicho init`")]
    finally:
        if backend is not None:
            await backend.close()
    return []


def _folders(settings: Settings) -> list[Path]:
    """Where this machine's disks are written to; those of other servers are theirs to watch."""
    is_here = settings.is_embedded or settings.blob_backend == "filesystem"
    return [settings.home] if is_here and settings.home.exists() else []


def _of_disks(folders: Sequence[Path]) -> Iterator[Finding]:
    for folder in folders:
        usage = shutil.disk_usage(folder)
        if usage.free < max(FREE_BYTES_MIN, FREE_SHARE_MIN * usage.total):
            yield Finding(
                "disk",
                f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free under {folder}",
                "Make room: when it is full, emits fail (nothing that was acknowledged is lost)",
            )


async def _of_tenant(tenant: TenantRecord, servers: DatabaseServers) -> list[Finding]:
    whose = tenant.tenant_id
    if tenant.status == "deleted":
        return []
    if tenant.status == "creating":
        fix = f"Finish it: `daicho tenant create {whose} {tenant.name!r}`"
        return [Finding("provisioning", "the tenant's making was interrupted", fix, whose)]
    if tenant.status in {"importing", "deleting"}:
        return []  # `daicho status` names what is under way
    try:
        database = await servers.database(tenant)
        found = await inspect_tenant(database)
        connection = await database.server.connect()
        try:
            are_out = await are_writers_out(connection, database)
        finally:
            await connection.close()
    except DaichoError as error:
        if error.retryable:
            raise
        return [Finding("database", error.problem, "Restore it from a backup", whose)]
    if are_out and tenant.status == "active":
        fix = f"`daicho tenant resume {whose}` lets them in"
        found.append(Finding("fence", "its writers are kept out, and it is active", fix, whose))
    if not are_out and tenant.status == "suspended":
        fix = f"`daicho tenant suspend {whose}` keeps them out"
        found.append(Finding("fence", "it is suspended, and its writers are let in", fix, whose))
    return found
