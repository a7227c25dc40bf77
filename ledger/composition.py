"""Ledger: the composition root. It puts settings, servers, stores, emitters and projectors
together; everything below it gets what it needs handed in."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from blobstore import BlobBackend, FilesystemRoot, MinioConnection, ObjectLock
from ledger.control.catalogue import Catalogue, TenantRecord
from ledger.control.llm import LlmCatalogue
from ledger.control.migrations import control_revision, require_head, upgrade_control
from ledger.control.server import open_server
from ledger.control.servers import DatabaseServers
from ledger.control.tenants import TenantDBManager
from ledger.control.wakeups import Wakeups
from ledger.emitter import EmitterLimits
from ledger.errors import LedgerClosed, SettingsError
from ledger.logs import get_logger
from ledger.settings import Settings
from ledger.store.reader import Reader
from ledger.store.server import DatabaseServer
from ledger.store.tenant_database import TenantDatabase
from ledger.tenant import Tenant
from projections.following import Follower
from projections.installed import Projections, installed_projections
from projections.lost import GRACE_SECONDS
from projections.progress import Progress
from projections.projector import Projector

log = get_logger(__name__)


class Ledger:
    """An open ledger. `async with await Ledger.open(settings) as ledger: …` closes it. `tenants` makes and
    lists tenants; `llm` is the LLM catalogue of them all."""

    def __init__(
        self,
        settings: Settings,
        server: DatabaseServer,
        tenants: TenantDBManager,
        llm: LlmCatalogue,
        blobs: BlobBackend,
        wakeups: Wakeups,
        projections: Projections,
        resources: AsyncExitStack,
    ) -> None:
        self.settings = settings
        self.server = server
        self.tenants = tenants
        self.llm = llm
        self.blobs = blobs
        self._wakeups = wakeups
        self._projections = projections
        self._resources = resources
        self._opened: dict[str, Tenant] = {}
        self._projecting: list[tuple[Projector, asyncio.Task[None]]] = []
        self._opening = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, settings: Settings | None = None) -> "Ledger":
        """Connects to what is configured (default: what the environment says) and checks that both
        stores are there; an empty control database is migrated, an outdated one is refused.

        Raises SettingsError, EmbeddedServerError, StoreUnavailable, BlobStoreUnavailable,
        BlobStoreMissing, MigrationNeeded; ProjectionNotLoaded where it projects and an installed
        projection is broken.
        """
        settings = settings or Settings()
        projections = installed_projections() if settings.projection == "background" else ()
        async with AsyncExitStack() as resources:
            server = await resources.enter_async_context(open_server(settings))
            await _prepare_control(server)
            blobs = blob_backend(settings)
            resources.push_async_callback(blobs.close)
            if settings.blob_backend == "filesystem":
                await blobs.prepare()
            await blobs.check()
            catalogue = await resources.enter_async_context(Catalogue.open(server))
            tenants = TenantDBManager(DatabaseServers(server, catalogue), catalogue)
            resources.push_async_callback(tenants.close)
            wakeups = Wakeups(server)
            resources.push_async_callback(wakeups.close)
            log.info("ledger_opened", database=server.name, blobs=blobs.describe())
            llm = LlmCatalogue(catalogue)
            return cls(settings, server, tenants, llm, blobs, wakeups, projections, resources.pop_all())

    async def tenant(self, tenant_id: str, *, for_reading: bool = False) -> Tenant:
        """The handle of an active tenant; the same one each time. `for_reading` also that of one that is
        suspended, being moved or deleted: what it records is refused. Raises InvalidName, TenantNotFound,
        TenantSuspended, TenantMoving (retryable), TenantBusy, MigrationNeeded."""
        if self._closed:
            raise LedgerClosed("The ledger is closed", fix="Open it again with Ledger.open()")
        record, database = await self.tenants.open_for_work(tenant_id, for_reading=for_reading)
        async with self._opening:
            if tenant_id in self._opened:
                return self._opened[tenant_id]
            tenant = await self.handle(record, database)
            if self.settings.metrics == "opentelemetry":
                _publish_metrics(tenant)
            self._opened[tenant_id] = tenant
            self._project(tenant)
        return tenant

    async def handle(self, record: TenantRecord, database: TenantDatabase) -> Tenant:
        """A handle that nobody projects and nobody closes but its maker: for a tenant that is none yet."""
        reader = await Reader.open(database, connections_max=self.settings.reader_connections_max)
        blobs = self.blobs.store(record.blob_prefix)
        return Tenant(database, reader, blobs, self._limits(), self.llm, self._wakeups, record.former_ids)

    async def release(self, tenant_id: str) -> None:
        """Closes the tenant's handle, where there is one; whoever has it meets a closed one."""
        async with self._opening:
            tenant = self._opened.pop(tenant_id, None)
            if tenant is None:
                return
            await tenant.emitter.close()
            await self._stop_projecting(tenant_id)
            await tenant.close()

    def follower(
        self,
        tenant_ids: Sequence[str] | None = None,
        *,
        projections: Projections | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> Follower:
        """What `daicho follow` runs: `await ledger.follower().run_until_cancelled()` keeps the projections of
        all tenants, or of those named, up to date, and shares the work with other processes that do the
        same. Attempts that run past their timeout and `grace_seconds` are recorded as lost."""
        return Follower(
            self.server,
            self.tenants,
            self._wakeups,
            installed_projections() if projections is None else projections,
            tenant_ids=tenant_ids,
            grace_seconds=grace_seconds,
        )

    async def close(self) -> None:
        """Everything emitted is acknowledged or failed; then projectors, connections and, where this
        was its last user, the embedded server stop."""
        self._closed = True
        for tenant in self._opened.values():
            await tenant.emitter.close()
        await self._stop_projecting()
        for tenant in self._opened.values():
            await tenant.close()
        self._opened.clear()
        await self._resources.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _project(self, tenant: Tenant) -> None:
        """Each projection by itself: one that stops does not stop the others."""
        projectors = {each.name: Projector(tenant.store, each) for each in self._projections}
        tenant.follow(Progress(tenant.reader, projectors, self._wakeups))
        for name, projector in projectors.items():
            task = asyncio.create_task(
                projector.run_until_cancelled(), name=f"daicho-projector-{tenant.tenant_id}-{name}"
            )
            self._projecting.append((projector, task))

    async def _stop_projecting(self, tenant_id: str | None = None) -> None:
        """The projectors of this tenant, or all."""
        for projector, task in list(self._projecting):
            if tenant_id in {None, projector.tenant_id}:
                self._projecting.remove((projector, task))
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                await projector.close()

    def _limits(self) -> EmitterLimits:
        return EmitterLimits(
            queue_events_max=self.settings.emit_queue_events_max,
            queue_bytes_max=self.settings.emit_queue_bytes_max,
            batch_events_max=self.settings.emit_batch_events_max,
            deadline_seconds=self.settings.emit_deadline_seconds,
        )


def blob_backend(settings: Settings) -> BlobBackend:
    """The blob store of the settings; nothing is connected yet."""
    if settings.blob_backend == "filesystem":
        return FilesystemRoot(settings.home / "blobs", compression=settings.blob_compression)
    return MinioConnection(
        settings.minio_endpoint,
        settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(),
        bucket=settings.minio_bucket,
        use_ssl=settings.minio_use_ssl,
        region=settings.minio_region,
        ca_file=settings.minio_ca_file,
        object_lock=_object_lock(settings),
        connections_max=settings.minio_connections_max,
    )


def _object_lock(settings: Settings) -> ObjectLock | None:
    if settings.minio_object_lock is None or settings.minio_object_lock_days is None:
        return None
    return ObjectLock(settings.minio_object_lock, settings.minio_object_lock_days)


def _publish_metrics(tenant: Tenant) -> None:
    try:
        from ledger.integrations.otel import attach
    except ImportError:
        raise SettingsError(
            "DAICHO_METRICS=opentelemetry needs the OpenTelemetry API, which is not installed",
            fix="Install daicho[otel], or unset DAICHO_METRICS",
        ) from None
    attach(tenant.emitter, tenant.tenant_id)


async def _prepare_control(server: DatabaseServer) -> None:
    revision = await control_revision(server)
    if revision is None:
        await upgrade_control(server)
    else:
        require_head(revision, "control", "The control database")
