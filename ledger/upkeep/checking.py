"""Checking blobs: every digest that events refer to is there, has its size, and hashes to its name.

The store's listing and what events say are merged in the order of digests: no request per blob unless it is
read, no more in memory than the blobs being read.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from blobstore import BlobCorrupt, BlobNotFound, BlobStat, BlobStore, Digest
from ledger.tenant import Tenant
from ledger.upkeep.joining import Pair, joined
from ledger.upkeep.log import Log
from ledger.upkeep.progress_file import ProgressFile
from ledger.upkeep.reports import BAD_LISTED_MAX, ORPHANS_LISTED_MAX, BadBlob, CheckReport, Problem
from ledger.upkeep.saying import RECORD, Said, note_all, said_of_each
from ledger.upkeep.sorting import RecordSorter

PARALLEL = 8
RUNS_LISTED_MAX = 100
POSITIONS_LISTED_MAX = 10

Progress = Callable[[CheckReport], None]


async def check_blobs(
    tenant: Tenant,
    *,
    quick: bool = False,
    parallel: int = PARALLEL,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Checks every blob that the tenant's events refer to; a quick check compares existence and size and
    reads none of them. Nothing is changed, in the log or in the store.

    `resume` names a file that keeps how far it has come, and from which it goes on where that is there: then
    up to the position at which it began. Raises CheckNotResumable, StoreUnavailable, and what the blob store
    raises; a blob that is not there or not whole is in the report.
    """
    log = Log(tenant.store, tenant.reader)
    fresh = CheckReport(
        tenant_id=tenant.tenant_id, store=tenant.blobs.describe(), quick=quick, position=await log.head()
    )
    file = ProgressFile(resume)
    report, cursor = file.load(fresh)
    check = _Check(report, cursor, log, tenant.blobs, file, parallel, progress)
    return await check.run()


@dataclass(frozen=True, slots=True)
class _Found:
    problem: Problem | None
    found: str = ""
    hashed_bytes: int | None = None


_Looking: TypeAlias = "asyncio.Task[_Found] | _Found"
_FINE = _Found(None)


@dataclass
class _Check:
    """Digests are settled in their order: all up to the cursor are in the report, and none after it."""

    report: CheckReport
    cursor: Digest | None
    log: Log
    blobs: BlobStore
    file: ProgressFile
    parallel: int
    progress: Progress | None
    _open: deque[tuple[Pair[Said], "_Looking"]] = field(default_factory=deque, init=False)

    async def run(self) -> CheckReport:
        began = time.monotonic() - self.report.seconds
        with RecordSorter(RECORD.size) as sorter:
            async for page in self.log.pages(0, self.report.position):
                note_all(page, sorter)
            self.report.referenced = sum(said.is_reference for _, said in said_of_each(sorter))
            try:
                await self._compare(sorter)
                self.report.finished = True
            finally:
                await self._stop()
                self.report.seconds = round(time.monotonic() - began, 3)
                self.file.save(self.report, self.cursor, now=True)
        self.file.remove()
        return self.report

    async def _compare(self, sorter: RecordSorter) -> None:
        said = (pair for pair in said_of_each(sorter) if self.cursor is None or pair[0] > self.cursor)
        async for pair in joined(said, self.blobs.iterate(after=self.cursor)):
            self._open.append((pair, self._begin(pair)))
            if len(self._open) >= self.parallel:
                await self._settle_first()
        while self._open:
            await self._settle_first()

    def _begin(self, pair: Pair[Said]) -> "_Looking":
        if pair.said is None or not pair.said.is_reference:
            return _FINE
        if pair.blob is not None and self.report.quick:
            return _compared(pair.said, pair.blob.size_bytes)
        return asyncio.create_task(self._look(pair.digest, pair.said, pair.blob))

    async def _look(self, digest: Digest, said: Said, blob: BlobStat | None) -> _Found:
        try:
            if self.report.quick:  # the listing of a server may lag behind its objects
                return _compared(said, (await self.blobs.stat(digest)).size_bytes)
            size = await self.blobs.verify(digest)
            return _compared(said, size, hashed_bytes=size)
        except BlobNotFound:
            return _Found("missing", "nothing")
        except BlobCorrupt as error:
            return _Found("corrupt", error.found or "other bytes", 0 if blob is None else blob.size_bytes)

    async def _settle_first(self) -> None:
        pair, looking = self._open[0]
        found = looking if isinstance(looking, _Found) else await looking
        bad = await self._bad(pair, found)
        self._open.popleft()  # from here to the cursor nothing can come between
        report = self.report
        if pair.blob is not None:
            report.listed += 1
            report.listed_bytes += pair.blob.size_bytes
            if pair.said is None:
                self._note_orphan(pair.blob)
        if pair.said is not None and pair.said.is_reference:
            report.checked += 1
            if found.hashed_bytes is not None:
                report.hashed += 1
                report.hashed_bytes += found.hashed_bytes
            report.bad_count += found.problem is not None
        if bad is not None:
            report.bad.append(bad)
        self.cursor = pair.digest
        self.file.save(report, self.cursor)
        if self.progress is not None:
            self.progress(report)

    def _note_orphan(self, blob: BlobStat) -> None:
        self.report.orphan_count += 1
        self.report.orphan_bytes += blob.size_bytes
        if len(self.report.orphans) < ORPHANS_LISTED_MAX:
            self.report.orphans.append(blob.digest)

    async def _bad(self, pair: Pair[Said], found: _Found) -> BadBlob | None:
        """What the report lists of it; None where it is fine, or the list full."""
        if pair.said is None or found.problem is None or len(self.report.bad) >= BAD_LISTED_MAX:
            return None
        return BadBlob(
            digest=pair.digest,
            problem=found.problem,
            found=found.found,
            runs=await self.log.runs_at(pair.said.positions, RUNS_LISTED_MAX),
            positions=list(pair.said.positions[:POSITIONS_LISTED_MAX]),
        )

    async def _stop(self) -> None:
        tasks = [looking for _, looking in self._open if not isinstance(looking, _Found)]
        self._open.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _compared(said: Said, size: int, hashed_bytes: int | None = None) -> _Found:
    if said.sizes == {size}:
        return _Found(None, hashed_bytes=hashed_bytes)
    expected = " and ".join(str(each) for each in sorted(said.sizes))
    return _Found("wrong_size", f"{size} bytes, where events say {expected}", hashed_bytes)
