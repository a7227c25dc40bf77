"""Tenant: everything of one tenant behind one handle."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from blobstore import BlobStore
from ledger.artifacts import ArtifactStore
from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.context import ExecutionContext
from ledger.contract.events import EventType, RecordedEvent
from ledger.contract.names import CORE_PROJECTION, is_reserved, name_problem
from ledger.control.llm import LlmCatalogue
from ledger.emitter import EmitterLimits, EventEmitter
from ledger.errors import InvalidName, RunNotStarted, TenantMismatch
from ledger.failures import Classifier
from ledger.prompts.packing import PromptPacks
from ledger.runs import Recording, Run, Step, record_run, record_step
from ledger.store.blob_fences import BlobFences
from ledger.store.erasure import erase_payload
from ledger.store.event_store import EventStore
from ledger.store.reader import Reader
from ledger.store.tenant_database import TenantDatabase
from ledger.store.wakeup import Announcer
from ledger.usage import price_within

STARTED_RUNS_REMEMBERED_MAX = 10_000


class ProjectionProgress(Protocol):
    """How far the tenant's tables have come; the read side implements it."""

    async def position(self, projection: str) -> int: ...

    async def wait(self, position: int, projection: str, timeout_seconds: float) -> None: ...


class Tenant:
    """`store`, `emitter`, `artifacts`, `prompts`, `reader` and `database` are this tenant's own; `llm` is the
    catalogue of all tenants."""

    def __init__(
        self,
        database: TenantDatabase,
        reader: Reader,
        blobs: BlobStore,
        limits: EmitterLimits,
        llm: LlmCatalogue,
        announcer: Announcer | None = None,
        former_ids: Collection[str] = (),
    ) -> None:
        self.tenant_id = database.tenant_id
        self.database = database
        self.reader = reader
        self.blobs = blobs
        self.store = EventStore(
            database, reader, deadline_seconds=limits.deadline_seconds, announcer=announcer
        )
        self.emitter = EventEmitter(self.store, limits)
        self._deadline_seconds = limits.deadline_seconds
        self.llm = llm
        self._price = partial(price_within, llm, limits.deadline_seconds)
        self.artifacts = ArtifactStore(
            self.tenant_id, blobs, self.emitter, BlobFences(database, reader), former_ids
        )
        self.prompts = PromptPacks(reader, self.application_env)
        self._progress: ProjectionProgress | None = None
        self._started_runs: set[str] = set()
        self._handle: str | None = None

    @asynccontextmanager
    async def run(
        self,
        run_id: str,
        *,
        prompt_pack: str | None,
        pipeline: str | None = None,
        inputs: Sequence[ArtifactRef] = (),
        config: dict[str, Any] | None = None,
        labels: dict[str, Any] | None = None,
        parent_run_id: str | None = None,
        classify: Classifier | None = None,
        actor: str | None = None,
    ) -> AsyncIterator[Run]:
        """A run: run.started when entered, run.succeeded, failed or cancelled when left.

        `prompt_pack` is the id of the pack to use; None raises ValueError and nothing is written.
        `classify` maps the exceptions of this run's steps to categories. `actor` is who runs it.
        """
        _check_run_id(run_id)
        pack = await self.prompts.load(prompt_pack)
        details = {
            "pipeline": pipeline,
            "inputs": list(inputs) or None,
            "config": config,
            "labels": labels,
            "parent_run_id": parent_run_id,
        }
        async with record_run(self._recording(actor), run_id, pack, details, classify) as run:
            self._remember_started(run_id)
            yield run

    @asynccontextmanager
    async def step(
        self,
        context: ExecutionContext,
        *,
        classify: Classifier | None = None,
        actor: str | None = None,
        **details: Any,
    ) -> AsyncIterator[Step]:
        """One attempt of a step of a run that was started before, here or elsewhere: for activities,
        which know only their context. Raises RunNotStarted before the body where it was not. `details` are
        fields of step.started, as in `run.step`; a prompt is told as `pack.prompt_identity(name)`."""
        if context.tenant_id != self.tenant_id:
            raise TenantMismatch(
                "The execution context belongs to another tenant",
                expected=f"tenant_id {self.tenant_id!r}",
                found=f"tenant_id {context.tenant_id!r}",
                fix="Use its own tenant",
            )
        await self._require_started(context.run_id)
        step = Step(self._recording(actor), context)
        async with record_step(step, classify, details):
            yield step

    async def erase_payload(self, position: int, *, by: str, reason: str) -> RecordedEvent:
        """Erases what the event at `position` says, for good; that it was recorded, and its place in
        proofs, stays. Returns the `payload.erased` that records by whom and why, durable; erasing an erased
        event again writes nothing and returns the first one. Tables lose it once they have reached the
        record's position (`wait_projected`). Bodies in the blob store are not touched.

        Raises InvalidErasure, PositionNotReached, ErasureRefused, StoreUnavailable.
        """
        record = await erase_payload(
            self.database, position, by=by, reason=reason, deadline_seconds=self._deadline_seconds
        )
        self.store.appended.notify(record.position)
        return record

    def application_env(self) -> dict[str, str]:
        """The environment of an `eventsourcing` application on this tenant's log:
        `App(env=tenant.application_env())`. Close the application before the ledger.

        It holds no address and no secret, only a handle that this process knows until the tenant is
        closed. The library is synchronous: in a coroutine, use `asyncio.to_thread`.
        """
        # Imported here: importing the library takes longer than everything else of the write side.
        from ledger.store import recorder

        if self._handle is None:
            self._handle = recorder.register(self.database, self._wakeup())
        return {"PERSISTENCE_MODULE": recorder.__name__, "DAICHO_TENANT_HANDLE": self._handle}

    def follow(self, progress: ProjectionProgress) -> None:
        """Handed in by the composition root: the write side knows of projections only that they come."""
        self._progress = progress

    async def wait_projected(
        self, position: int, *, projection: str = CORE_PROJECTION, timeout_seconds: float = 30.0
    ) -> None:
        """Returns once the projection's tables hold every event up to `position`: read your own writes.
        Raises ProjectionStopped, ProjectionBehind."""
        assert self._progress is not None, "the composition root did not call follow"
        await self._progress.wait(position, projection, timeout_seconds)

    async def projected_position(self, projection: str = CORE_PROJECTION) -> int:
        assert self._progress is not None, "the composition root did not call follow"
        return await self._progress.position(projection)

    async def close(self) -> None:
        """Everything emitted is acknowledged or failed; then the connections go."""
        self._release_handle()
        await self.emitter.close()
        await self.store.close()
        await self.blobs.close()
        await self.reader.close()

    def _wakeup(self) -> Callable[[], None] | None:
        """Wakes subscribers on this event loop from an application's thread. Where there is no loop,
        None: they look by themselves."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.store.appended.notify)

        return notify

    def _release_handle(self) -> None:
        if self._handle is not None:
            from ledger.store import recorder

            recorder.release(self._handle)
            self._handle = None

    def _recording(self, actor: str | None) -> Recording:
        return Recording(self.tenant_id, self.emitter, self.artifacts, self._price, actor)

    async def _require_started(self, run_id: str) -> None:
        if run_id in self._started_runs:
            return
        if not await self.store.has_event(run_id, EventType.RUN_STARTED.value):
            raise RunNotStarted(
                f"Run {run_id!r} of tenant {self.tenant_id!r} has no run.started",
                fix="Start it with `tenant.run(...)`, which names its prompt pack; nothing was recorded",
            )
        self._remember_started(run_id)

    def _remember_started(self, run_id: str) -> None:
        # A recorded start stays recorded, so forgetting one costs a query and nothing else.
        if len(self._started_runs) >= STARTED_RUNS_REMEMBERED_MAX:
            self._started_runs.clear()
        self._started_runs.add(run_id)


def _check_run_id(run_id: str) -> None:
    problem = name_problem(run_id)
    if problem is None and is_reserved(run_id):
        problem = "names that begin with '$' are reserved"
    if problem is not None:
        raise InvalidName(f"{run_id[:100]!r} is not a run id", expected=problem, fix="Correct the run id")
