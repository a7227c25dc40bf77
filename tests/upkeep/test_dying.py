"""A collection that ends at any of its steps: nothing referenced goes, and the next one finishes."""

from random import Random

import pytest

from blobstore import BlobStoreUnavailable, digest_of
from tests.upkeep import interleaving
from tests.upkeep.interleaving import Died, Scheduler, World

GARBAGE = [f"garbage {number}".encode() for number in range(4)]


async def world_with_garbage() -> tuple[Scheduler, World]:
    scheduler = Scheduler(Random(1))
    world = World(scheduler.turn)
    for body in GARBAGE:
        world.blobs[digest_of(body)] = (body, world.now)
    world.later()
    put = world.artifacts().put(b"kept", "storage/acme/run/step/a")
    await scheduler.run([put], lambda: None)
    return scheduler, world


@pytest.mark.parametrize("error", [Died(), BlobStoreUnavailable("the server is down")], ids=["dies", "fails"])
async def test_wherever_it_ends_nothing_is_lost_and_the_next_one_finishes(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaving, "DEATH", error)
    calls = 0
    while True:
        scheduler, world = await world_with_garbage()
        world.calls_left = calls
        try:
            await scheduler.run([world.collection().run()], lambda: None)
        except type(error):
            assert not world.lost()
        else:
            break
        world.calls_left = None
        world.later()
        await scheduler.run([world.collection().run()], lambda: None)
        assert set(world.blobs) == {digest_of(b"kept")}, f"after it ended at call {calls}"
        assert all(fence.is_deleted for fence, _ in world.fences.values())
        calls += 1
    assert calls > 15


async def test_after_a_death_at_any_step_what_was_garbage_can_be_put() -> None:
    for calls in range(20):
        scheduler, world = await world_with_garbage()
        world.calls_left = calls
        with pytest.raises(Died):
            await scheduler.run([world.collection().run()], lambda: None)
        world.calls_left = None
        world.later()
        puts = [world.artifacts().put(body, f"storage/acme/run/step/{at}") for at, body in enumerate(GARBAGE)]
        await scheduler.run([*puts, world.collection().run()], lambda: None)
        assert set(world.blobs) == {digest_of(body) for body in (b"kept", *GARBAGE)}
        assert not world.lost()
