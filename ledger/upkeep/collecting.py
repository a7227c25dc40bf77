"""Collecting garbage: blobs that no event mentions are deleted, and nothing else, whoever puts meanwhile.

mark     every digest that an event mentions, up to a position
garbage  a blob that is not marked and is older than the grace period
sweep    garbage is condemned, which is where the log has the last word, then deleted, batch by batch

Why this is safe stands in ARCHITECTURE.md, "Garbage is collected beside running puts". No clock plays a
part in it: the grace period only spares those who put from putting again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol, TypeVar

from blobstore import BlobNotFound, BlobRetained, BlobStat, BlobStore, Digest
from ledger.contract.events import Event, EventType
from ledger.contract.names import TENANT_STREAM
from ledger.errors import CollectionStopped
from ledger.store.blob_fences import Sweeper
from ledger.tenant import Tenant
from ledger.upkeep.joining import joined
from ledger.upkeep.log import Log, Payload
from ledger.upkeep.references import mentions
from ledger.upkeep.reports import CollectionReport
from ledger.upkeep.sorting import RecordSorter

GRACE_SECONDS = 36 * 3600.0
GARBAGE_HELD_MAX = 100_000
CONDEMNED_AT_ONCE = 100
DELETED_AT_ONCE = 16
TRIES_MAX = 20
DELETE_SECONDS_MAX = 300.0
"""From a condemnation: after it nothing of it is deleted any more."""
PROMPT_SECONDS_MAX = 5.0
"""A deletion that took longer may have been tried twice, and its first try may still be on its way: nobody is
told yet that it is over. The fence stays until a later run takes it over."""
UNFINISHED_SECONDS = 36 * 3600.0
"""What a put left that was not heard of for so long is cleared, whatever the grace period: a put that lives
would fail."""
SILENT_SECONDS = 3600.0
"""Whoever was not heard of for this long has no deletion on its way: it began none after DELETE_SECONDS_MAX,
and an S3 server refuses a request that was signed 15 minutes ago."""

T = TypeVar("T")
Progress = Callable[[str, int], None]
"""Called with what is counted, and how many."""


class LogToMark(Protocol):
    async def head(self) -> int: ...

    def pages(self, after: int, upto: int) -> AsyncIterator[Sequence[Payload]]: ...


class Condemning(Protocol):
    """See ledger.store.blob_fences.Sweeper."""

    async def condemn(self, digests: Sequence[Digest], seen: int) -> list[Digest] | None: ...

    async def deleted(self, digests: Iterable[Digest]) -> None: ...

    async def take_over(self, silent_seconds: float, most: int) -> list[Digest]: ...


async def collect_garbage(
    tenant: Tenant,
    *,
    grace_seconds: float = GRACE_SECONDS,
    dry_run: bool = False,
    actor: str | None = None,
    progress: Progress | None = None,
) -> CollectionReport:
    """Deletes the tenant's garbage and records `blobs.collected`; a dry run counts it and does neither.

    Puts may go on meanwhile, in any process. Died anywhere, it is finished by the next one. Where it fails
    after it has deleted something, that is recorded, with `finished` false. Raises CollectionRunning,
    StoreUnavailable, and what the blob store raises.
    """
    report = CollectionReport(tenant_id=tenant.tenant_id, grace_seconds=grace_seconds, dry_run=dry_run)
    log = Log(tenant.store, tenant.reader)
    async with Sweeper.open(tenant.database) as sweeper:
        collection = Collection(report, log, tenant.blobs, sweeper, progress)
        try:
            await collection.run()
        finally:
            if report.deleted or (report.finished and not dry_run):
                await tenant.emitter.emit(_collected(report, actor))
    return report


@dataclass
class Collection:
    """One run. What it reads and writes is handed in, so that tests may interleave its steps with others'."""

    report: CollectionReport
    log: LogToMark
    blobs: BlobStore
    sweeper: Condemning
    progress: Progress | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _seen: int = field(default=0, init=False)
    _retained: set[Digest] = field(default_factory=set, init=False)

    async def run(self) -> None:
        began = time.monotonic()
        try:
            if not self.report.dry_run:
                await self._finish_others()
            after: Digest | None = None
            while True:
                garbage, after = await self._find(after)
                if not self.report.dry_run:
                    await self._sweep(garbage)
                if after is None:
                    break
            self.report.finished = True
        finally:
            self.report.seconds = round(time.monotonic() - began, 3)

    async def _finish_others(self) -> None:
        """What sweeps that died had condemned: the log had its word on it."""
        while taken := await self.sweeper.take_over(SILENT_SECONDS, CONDEMNED_AT_ONCE):
            await self._delete(taken, time.monotonic() + DELETE_SECONDS_MAX)
            self.report.taken_over += len(taken)
        self.report.unfinished_puts_cleared = await self.blobs.clear_unfinished(UNFINISHED_SECONDS)

    async def _find(self, after: Digest | None) -> tuple[dict[Digest, int], Digest | None]:
        """Garbage after this digest with its sizes, and where to go on: None at the end."""
        garbage: dict[Digest, int] = {}
        self._seen = self.report.position = await self.log.head()
        with RecordSorter(32) as marked:
            async for page in self.log.pages(0, self._seen):
                for digest in _mentioned(page):
                    marked.add(bytes.fromhex(digest))
                self._tell("events read", page[-1].position)
            said = ((Digest(record.hex()), True) for record in marked)
            rest = (pair for pair in said if after is None or pair[0] > after)
            async for pair in joined(rest, self.blobs.iterate(after=after)):
                if self._is_garbage(pair.said, pair.blob):
                    assert pair.blob is not None
                    garbage[pair.digest] = pair.blob.size_bytes
                    self.report.garbage += 1
                    self.report.garbage_bytes += pair.blob.size_bytes
                    if len(garbage) == GARBAGE_HELD_MAX and not self.report.dry_run:
                        return garbage, pair.digest
                if self.report.dry_run:
                    garbage.clear()
        return garbage, None

    def _is_garbage(self, said: bool | None, blob: BlobStat | None) -> bool:
        if blob is None:
            return False
        self.report.listed += 1
        self.report.listed_bytes += blob.size_bytes
        self._tell("blobs listed", self.report.listed)
        if said:
            self.report.mentioned += 1
            return False
        if not self._is_old(blob):
            self.report.young += 1
            return False
        return True

    def _is_old(self, blob: BlobStat) -> bool:
        return self.now() - blob.modified_at >= timedelta(seconds=self.report.grace_seconds)

    async def _sweep(self, garbage: dict[Digest, int]) -> None:
        digests = iter(list(garbage))
        while batch := list(islice(digests, CONDEMNED_AT_ONCE)):
            began = time.monotonic()
            condemned = await self._condemn(batch, garbage)
            await self._delete(condemned, began + DELETE_SECONDS_MAX)
            gone = [digest for digest in condemned if digest not in self._retained]
            self.report.deleted += len(gone)
            self.report.deleted_bytes += sum(garbage[digest] for digest in gone)
            self._tell("blobs deleted", self.report.deleted)

    async def _condemn(self, batch: list[Digest], garbage: dict[Digest, int]) -> list[Digest]:
        for _ in range(TRIES_MAX):
            await self._catch_up(garbage)
            wanted = await self._still_old([digest for digest in batch if digest in garbage])
            if not wanted:
                return []
            condemned = await self.sweeper.condemn(wanted, self._seen)
            if condemned is not None:
                return condemned
        raise CollectionStopped(
            "Events are appended faster than they can be looked through",
            fix="Collect garbage at a calmer time; what was deleted is recorded",
        )

    async def _catch_up(self, garbage: dict[Digest, int]) -> None:
        """What was recorded since the last look is no garbage."""
        head = await self.log.head()
        async for page in self.log.pages(self._seen, head):
            for digest in _mentioned(page):
                garbage.pop(digest, None)
        self._seen = head

    async def _still_old(self, digests: list[Digest]) -> list[Digest]:
        """Those that no put has renewed since they were listed."""
        looks = await _at_most(DELETED_AT_ONCE, [self._old_or_none(digest) for digest in digests])
        return [digest for digest in looks if digest is not None]

    async def _old_or_none(self, digest: Digest) -> Digest | None:
        try:
            blob = await self.blobs.stat(digest)
        except BlobNotFound:
            return None
        if blob.retained_until is not None and blob.retained_until > self.now():
            self._retain(digest)
            return None
        return digest if self._is_old(blob) else None

    async def _delete(self, digests: Sequence[Digest], until: float) -> None:
        seconds = await _at_most(DELETED_AT_ONCE, [self._delete_one(digest, until) for digest in digests])
        await self.sweeper.deleted(
            [digest for digest, took in zip(digests, seconds, strict=True) if took < PROMPT_SECONDS_MAX]
        )

    async def _delete_one(self, digest: Digest, until: float) -> float:
        """How many seconds it took."""
        began = time.monotonic()
        if began > until:
            raise CollectionStopped(
                "The blob store deletes too slowly, or this process was stopped",
                expected=f"the deletion of {CONDEMNED_AT_ONCE} blobs in {DELETE_SECONDS_MAX:.0f} seconds",
                fix=f"Collect again in {SILENT_SECONDS / 3600:.0f} hours; that finishes what was begun",
            )
        try:
            await self.blobs.delete(digest)
        except BlobRetained:  # locked by a put since it was looked at: over as well, and it is there
            self._retain(digest)
        return time.monotonic() - began

    def _retain(self, digest: Digest) -> None:
        """Object lock holds it: a later collection's."""
        self._retained.add(digest)
        self.report.retained = len(self._retained)

    def _tell(self, what: str, count: int) -> None:
        if self.progress is not None:
            self.progress(what, count)


async def _at_most(number: int, calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Their answers, at most `number` under way at a time. All have ended when the first error is raised."""
    gate = asyncio.Semaphore(number)

    async def gated(call: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await call

    answers = await asyncio.gather(*map(gated, calls), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _mentioned(page: Sequence[Payload]) -> Iterable[Digest]:
    return (digest for event in page if event.data is not None for digest in mentions(event.data))


def _collected(report: CollectionReport, actor: str | None) -> Event:
    said = ("position", "grace_seconds", "mentioned", "listed", "listed_bytes", "deleted", "deleted_bytes")
    payload = {name: getattr(report, name) for name in (*said, "seconds", "finished")}
    return Event(
        event_type=EventType.BLOBS_COLLECTED,
        run_id=TENANT_STREAM,
        tenant_id=report.tenant_id,
        payload=payload,
        actor=actor,
    )
