"""Puts, erasures and sweeps in any order: an event never refers to a blob that is not there."""

import asyncio
from random import Random

import pytest

from blobstore import Digest, digest_of
from ledger.errors import BlobBeingCollected
from tests.upkeep.interleaving import Scheduler, World

BODIES = [b"alpha", b"beta"]
INTERLEAVINGS = 2_000
WRITERS, PUTS = 4, 3


def path(number: int) -> str:
    return f"storage/acme/run/step/{number}.txt"


class Story:
    """Writers that put the same few bodies, one who erases what refers to them, sweeps one after the other,
    and a clock that jumps: a writer may sleep longer than the grace period between any two of its steps."""

    def __init__(self, seed: int, **mistakes: bool) -> None:
        self.random = Random(seed)
        self.scheduler = Scheduler(self.random)
        self.world = World(self.scheduler.turn, **mistakes)
        self.acknowledged: list[Digest] = []
        self.refused = self.deleted = 0

    async def run(self) -> None:
        self._lay_garbage()
        works = [self._writer(number) for number in range(WRITERS)]
        works += [self._eraser(), self._clock(), self._sweeps()]
        await self.scheduler.run(works, self._check)

    async def settle(self) -> None:
        """Nobody disturbs any more; a sweep after the grace period leaves what is referred to and no more."""
        self.world.calls_left = None
        self.world.later()
        await self.scheduler.run([self._sweep()], self._check)

    def _lay_garbage(self) -> None:
        for body in BODIES:
            if self.random.random() < 0.7:
                self.world.blobs[digest_of(body)] = (body, self.world.now)
        self.world.later()

    async def _writer(self, number: int) -> None:
        for put in range(PUTS):
            body = self.random.choice(BODIES)
            try:
                ref = await self.world.artifacts().put(body, path(10 * number + put))
            except BlobBeingCollected:
                self.refused += 1
            else:
                self.acknowledged.append(Digest(ref.digest))

    async def _eraser(self) -> None:
        for _ in range(8):
            await self.scheduler.turn()
            for position in range(1, len(self.world.events) + 1):
                if self.random.random() < 0.7:
                    self.world.erase(position)

    async def _clock(self) -> None:
        for _ in range(12):
            await self.scheduler.turn()
            self.world.later()

    async def _sweeps(self) -> None:
        for _ in range(5):
            self.world.calls_left = self.random.choice([None, None, self.random.randrange(20)])
            # One dies, the next one comes: that is what a session's lock is for.
            await asyncio.gather(self._sweep(), return_exceptions=True)

    async def _sweep(self) -> None:
        collection = self.world.collection()
        try:
            await collection.run()
        finally:
            self.deleted += collection.report.deleted

    def _check(self) -> None:
        assert not self.world.lost(), f"events refer to {self.world.lost()}, which the store does not have"


async def test_no_interleaving_loses_a_blob_that_an_event_refers_to() -> None:
    turns = refused = deleted = 0
    for seed in range(INTERLEAVINGS):
        story = Story(seed)
        await story.run()
        await story.settle()
        assert set(story.world.blobs) == story.world.referenced(), f"seed {seed}: garbage is left"
        turns += story.scheduler.turns
        refused += story.refused
        deleted += story.deleted
    assert turns > 20 * INTERLEAVINGS
    assert deleted > INTERLEAVINGS / 2, "sweeps did delete"
    assert refused < INTERLEAVINGS / 10, "hardly a put was refused"


@pytest.mark.parametrize("mistake", ["has_fences", "looks_again", "tells_fences_apart"])
async def test_the_interleavings_find_what_would_be_wrong_without_it(mistake: str) -> None:
    """What the test above would say, were the protocol wrong."""
    for seed in range(INTERLEAVINGS):
        story = Story(seed, **{mistake: False})
        try:
            await story.run()
        except AssertionError:
            return
    pytest.fail(f"{INTERLEAVINGS} interleavings went well without {mistake}")
