"""A world in memory in which every step of a put and of a sweep can be interleaved with every other.

The code under test is the real one: `ArtifactStore.put` and `Collection.run`. Modelled are a blob store, the
log with its trigger, and the table of fences; `test_collecting.py` holds the real table against the same
promises. Each call of the model stops at its begin until the scheduler lets it go on, and happens at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import orjson

from blobstore import BlobNotFound, BlobStat, Digest, digest_of
from ledger import ArtifactStore, Event
from ledger.errors import BlobCollected
from ledger.store.blob_fences import Fence
from ledger.store.codec import encode_payload
from ledger.upkeep.collecting import SILENT_SECONDS, Collection
from ledger.upkeep.log import Payload
from ledger.upkeep.references import mentions
from ledger.upkeep.reports import CollectionReport

GOES_ON = 0.8
GRACE_SECONDS = 100_000.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class Died(BaseException):
    """The process that made the call is no more."""


DEATH: BaseException = Died()


class Scheduler:
    """Lets one waiting call at a time go on, chosen by `random`, until all work is done. Mostly whoever went
    on last goes on, and others are left standing for a whole put or sweep: that is where mistakes show."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.turns = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def turn(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def run(self, works: Iterable[Coroutine[Any, Any, Any]], each_turn: Callable[[], None]) -> None:
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            while not all(task.done() for task in tasks):
                for _ in range(4):  # until whoever was let go has come to its next call
                    await asyncio.sleep(0)
                each_turn()
                if self._waiting:
                    self.turns += 1
                    self._waiting.pop(self._choice()).set_result(None)
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._waiting.clear()

    def _choice(self) -> int:
        last = len(self._waiting) - 1
        return last if self.random.random() < GOES_ON else self.random.randint(0, last)


@dataclass
class World:
    """`has_fences`, `looks_again` and `tells_fences_apart` switched off are the mistakes that the
    interleavings must find."""

    turn: Callable[[], Awaitable[None]]
    has_fences: bool = True
    looks_again: bool = True
    tells_fences_apart: bool = True
    now: datetime = START
    blobs: dict[Digest, tuple[bytes, datetime]] = field(default_factory=dict)
    events: list[bytes | None] = field(default_factory=list)
    fences: dict[Digest, tuple[Fence, datetime]] = field(default_factory=dict)
    collecting: bool = False
    calls_left: int | None = None
    """After so many calls of the collector it dies."""

    def artifacts(self) -> ArtifactStore:
        return ArtifactStore("acme", _Blobs(self), _Emitter(self), _Fences(self))  # type: ignore[arg-type]

    def collection(self) -> Collection:
        report = CollectionReport(tenant_id="acme", grace_seconds=GRACE_SECONDS, dry_run=False)
        dying = _Dying(self)
        return Collection(report, _Log(self, dying), _Blobs(self, dying), _Sweeper(self, dying),
                          now=lambda: self.now)  # type: ignore[arg-type]  # fmt: skip

    def later(self, seconds: float = GRACE_SECONDS + SILENT_SECONDS) -> None:
        self.now += timedelta(seconds=seconds)

    def referenced(self) -> set[Digest]:
        return {digest for data in self.events if data is not None for digest in mentions(data)}

    def lost(self) -> set[Digest]:
        """What events refer to and the store does not have."""
        return self.referenced() - self.blobs.keys()

    def erase(self, position: int) -> None:
        self.events[position - 1] = None


@dataclass
class _Dying:
    world: World

    async def __call__(self) -> None:
        await self.world.turn()
        if self.world.calls_left is not None:
            if self.world.calls_left == 0:
                raise DEATH
            self.world.calls_left -= 1


class _Blobs:
    def __init__(self, world: World, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        self._world = world
        self._begin = begin or world.turn

    async def put(self, content: bytes) -> Digest:
        """As a store does: a look, then a write, and anything in between."""
        digest = digest_of(content)
        await self._begin()
        is_there = digest in self._world.blobs
        await self._begin()
        if not is_there or digest in self._world.blobs:
            self._world.blobs[digest] = (content, self._world.now)
            return digest
        return await self.put(content)  # deleted between the two

    async def stat(self, digest: Digest) -> BlobStat:
        await self._begin()
        if digest not in self._world.blobs:
            raise BlobNotFound(digest)
        content, modified_at = self._world.blobs[digest]
        return BlobStat(digest, len(content), modified_at)

    async def iterate(self, prefix: str = "", *, after: Digest | None = None) -> AsyncIterator[BlobStat]:
        last = after or ""
        while True:
            await self._begin()
            digest = min((digest for digest in self._world.blobs if digest > last), default=None)
            if digest is None:
                return
            content, modified_at = self._world.blobs[digest]
            yield BlobStat(digest, len(content), modified_at)
            last = digest

    async def delete(self, digest: Digest) -> None:
        await self._begin()
        self._world.blobs.pop(digest, None)

    async def clear_unfinished(self, older_than_seconds: float) -> int:
        return 0


class _Emitter:
    def __init__(self, world: World) -> None:
        self._world = world

    async def emit(self, event: Event) -> Any:
        await self._world.turn()
        data = encode_payload(event)
        if self._world.has_fences and orjson.loads(data)["ref"]["digest"] in self._world.fences:
            raise BlobCollected("fenced")
        self._world.events.append(data)
        return Recorded(event.payload)


@dataclass
class Recorded:
    payload: dict[str, Any]


class _Fences:
    def __init__(self, world: World) -> None:
        self._world = world

    async def standing(self, digest: Digest) -> Fence | None:
        await self._world.turn()
        found = self._world.fences.get(digest)
        return found[0] if found else None

    async def lift(self, digest: Digest, fence: Fence) -> bool:
        await self._world.turn()
        found = self._world.fences.get(digest)
        if found is None or (self._world.tells_fences_apart and found[0] != fence):
            return False
        del self._world.fences[digest]
        return True

    async def pause(self) -> None:
        await self._world.turn()


@dataclass
class _Log:
    world: World
    begin: Callable[[], Awaitable[None]]

    async def head(self) -> int:
        await self.begin()
        return len(self.world.events)

    async def pages(self, after: int, upto: int) -> AsyncIterator[Sequence[Payload]]:
        for position in range(after + 1, upto + 1, 2):
            await self.begin()
            page = range(position, min(position + 2, upto + 1))
            yield [Payload(at, "artifact.stored", self.world.events[at - 1]) for at in page]


@dataclass
class _Sweeper:
    world: World
    begin: Callable[[], Awaitable[None]]

    async def condemn(self, digests: Sequence[Digest], seen: int) -> list[Digest] | None:
        await self.begin()
        unseen = b"".join(data or b"" for data in self.world.events[seen:])
        condemned = [
            digest for digest in digests if not self.world.looks_again or digest.encode() not in unseen
        ]
        for digest in condemned:
            self.world.fences[digest] = (Fence(uuid4(), is_deleted=False), self.world.now)
        return condemned

    async def deleted(self, digests: Iterable[Digest]) -> None:
        await self.begin()
        for digest in digests:
            if digest in self.world.fences:
                fence_id: UUID = self.world.fences[digest][0].fence_id
                self.world.fences[digest] = (Fence(fence_id, is_deleted=True), self.world.now)

    async def take_over(self, silent_seconds: float, most: int) -> list[Digest]:
        await self.begin()
        silent = self.world.now - timedelta(seconds=silent_seconds)
        fences = self.world.fences.items()
        taken = [digest for digest, (fence, since) in fences if not fence.is_deleted and since <= silent]
        for digest in taken:
            self.world.fences[digest] = (self.world.fences[digest][0], self.world.now)
        return taken
