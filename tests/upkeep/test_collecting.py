"""Collecting garbage with the real log, the real fences and real stores."""

import asyncio
from typing import Any

import asyncpg
import pytest

from blobstore import Digest, MinioBlobStore, digest_of
from ledger import ArtifactRef, Event, Tenant
from ledger.errors import BlobBeingCollected, BlobCollected, CollectionRunning
from ledger.store.blob_fences import UNSEEN_EVENTS_MAX, BlobFences, Fence, Sweeper
from ledger.store.tenant_database import Role
from ledger.upkeep.collecting import collect_garbage
from ledger.upkeep.log import Log


def path(tenant: Tenant, name: str) -> str:
    return f"storage/{tenant.tenant_id}/run/step/{name}"


async def stored(tenant: Tenant) -> set[Digest]:
    return {blob.digest async for blob in tenant.blobs.iterate()}


async def grow_old(tenant: Tenant) -> None:
    """Swift rounds a blob's time up to the next second."""
    if isinstance(tenant.blobs, MinioBlobStore):
        await asyncio.sleep(1.1)


async def test_garbage_goes_and_what_any_event_mentions_stays(kept: Tenant) -> None:
    ref = await kept.artifacts.put(b"an artifact", path(kept, "a"))
    garbage = await kept.blobs.put(b"garbage")
    mentioned = await kept.blobs.put(b"named in passing")
    await kept.emitter.emit(
        Event(event_type="run.cancelled", run_id="r", tenant_id=kept.tenant_id,
              payload={"reason": f"see sha256:{mentioned}"})
    )  # fmt: skip
    await grow_old(kept)
    report = await collect_garbage(kept, grace_seconds=0, actor="ann")
    assert await stored(kept) == {ref.digest, mentioned}
    counts = (report.listed, report.mentioned, report.garbage, report.deleted, report.deleted_bytes)
    assert counts == (3, 2, 1, 1, len(b"garbage"))
    assert garbage not in await stored(kept)
    event = (await kept.store.read())[-1]
    assert (event.event_type, event.run_id, event.actor) == ("blobs.collected", "$tenant", "ann")
    assert event.payload is not None
    assert (event.payload["position"], event.payload["deleted"], event.payload["finished"]) == (2, 1, True)
    await kept.wait_projected(event.position)
    found = "SELECT subject, details->>'deleted' FROM projection.audit_logs WHERE action = 'blobs.collected'"
    assert [tuple(row) for row in await kept.reader.fetch(found)] == [("position 2", "1")]


async def test_what_is_younger_than_the_grace_period_stays(kept: Tenant) -> None:
    await kept.blobs.put(b"being put")
    report = await collect_garbage(kept)
    assert (report.young, report.garbage, report.deleted) == (1, 0, 0)
    assert len(await stored(kept)) == 1


async def test_a_dry_run_counts_and_changes_nothing(tenant: Tenant) -> None:
    await tenant.blobs.put(b"garbage")
    report = await collect_garbage(tenant, grace_seconds=0, dry_run=True)
    assert (report.garbage, report.garbage_bytes, report.deleted) == (1, 7, 0)
    assert len(await stored(tenant)) == 1
    assert await tenant.store.head() == 0


async def test_what_only_an_erased_event_named_goes(tenant: Tenant) -> None:
    ref = await tenant.artifacts.put(b"personal", path(tenant, "a"))
    assert (await collect_garbage(tenant, grace_seconds=0)).deleted == 0
    await tenant.erase_payload(1, by="ann", reason="asked for")
    assert (await collect_garbage(tenant, grace_seconds=0)).deleted == 1
    assert not await tenant.artifacts.exists(ref)


async def test_more_garbage_than_is_held_at_once_goes_in_rounds(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.upkeep.collecting.GARBAGE_HELD_MAX", 3)
    monkeypatch.setattr("ledger.upkeep.collecting.CONDEMNED_AT_ONCE", 2)
    for number in range(8):
        await tenant.blobs.put(f"garbage {number}".encode())
    ref = await tenant.artifacts.put(b"kept", path(tenant, "a"))
    report = await collect_garbage(tenant, grace_seconds=0)
    assert (report.deleted, report.listed) == (8, 9)
    assert await stored(tenant) == {ref.digest}


async def test_what_was_collected_can_be_put_again(kept: Tenant) -> None:
    """The whole way: a put meets the fence, puts the blob again, lifts the fence, and is recorded."""
    await kept.blobs.put(b"once more")
    await grow_old(kept)
    await collect_garbage(kept, grace_seconds=0)
    digest = digest_of(b"once more")
    fences = BlobFences(kept.database, kept.reader)
    fence = await fences.standing(digest)
    assert fence is not None
    assert fence.is_deleted
    ref = await kept.artifacts.put(b"once more", path(kept, "a"))
    assert await kept.artifacts.get(ref) == b"once more"
    assert await fences.standing(digest) is None


async def test_a_stream_that_was_collected_meanwhile_is_asked_for_again(tenant: Tenant) -> None:
    async def stream() -> Any:
        yield b"streamed"

    await tenant.blobs.put(b"streamed")
    await collect_garbage(tenant, grace_seconds=0)
    with pytest.raises(BlobBeingCollected, match="The stream was read and is gone") as refusal:
        await tenant.artifacts.put(stream(), path(tenant, "a"))
    assert refusal.value.retryable
    assert not any(e.event_type == "artifact.stored" for e in await tenant.store.read())


class Condemned:
    """A digest whose blob is there, condemned by a sweep that has not deleted it yet."""

    def __init__(self, tenant: Tenant, digest: Digest) -> None:
        self.tenant = tenant
        self.digest = digest

    async def condemn(self, seen: int) -> list[Digest] | None:
        async with Sweeper.open(self.tenant.database) as sweeper:
            return await sweeper.condemn([self.digest], seen)

    async def deleted(self) -> None:
        await self.tenant.blobs.delete(self.digest)
        async with Sweeper.open(self.tenant.database) as sweeper:
            await sweeper.deleted([self.digest])


async def test_a_put_waits_for_the_deletion_that_has_begun(tenant: Tenant) -> None:
    target = Condemned(tenant, await tenant.blobs.put(b"contested"))
    assert await target.condemn(0) == [target.digest]
    put = asyncio.create_task(tenant.artifacts.put(b"contested", path(tenant, "a")))
    await asyncio.sleep(0.5)
    assert not put.done()
    await target.deleted()
    ref = await put
    assert await tenant.artifacts.get(ref) == b"contested"


async def test_a_put_that_waits_in_vain_says_that_trying_again_may_help(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.artifacts.FENCE_LOOKS_MAX", 2)
    target = Condemned(tenant, await tenant.blobs.put(b"contested"))
    await target.condemn(0)
    with pytest.raises(BlobBeingCollected, match=r"was not heard of since.*daicho blob gc"):
        await tenant.artifacts.put(b"contested", path(tenant, "a"))


async def test_an_event_emitted_by_hand_is_refused_alone(tenant: Tenant) -> None:
    target = Condemned(tenant, await tenant.blobs.put(b"contested"))
    await target.condemn(0)
    ref = ArtifactRef(
        path=path(tenant, "a"), digest=target.digest, size_bytes=9, created_at="2026-01-01T00:00:00Z"
    )  # type: ignore[arg-type]
    events = [
        Event(event_type=kind, run_id="run", step_id="step", tenant_id=tenant.tenant_id, payload=payload)
        for kind, payload in (
            ("step.started", {}), ("artifact.stored", {"name": "a", "ref": ref}), ("step.succeeded", {}),
        )
    ]  # fmt: skip
    answers = await asyncio.gather(*map(tenant.emitter.emit, events), return_exceptions=True)
    assert [isinstance(answer, BlobCollected) for answer in answers] == [False, True, False]
    assert await tenant.store.head() == 2


async def test_an_event_recorded_in_time_saves_its_blob(tenant: Tenant) -> None:
    digest = await tenant.blobs.put(b"contested")
    target = Condemned(tenant, digest)
    await tenant.artifacts.put(b"contested", path(tenant, "a"))
    assert await target.condemn(0) == [], "no event was looked at: the log itself says no"
    assert await target.condemn(1) == [digest], "whoever says that it has looked is believed"


async def test_more_unseen_events_than_appends_should_wait_for_condemn_nothing(tenant: Tenant) -> None:
    cancelled = Event(event_type="run.cancelled", run_id="r", tenant_id=tenant.tenant_id)
    many = [cancelled.model_copy(update={"event_id": cancelled.event_id.__class__(int=number)})
            for number in range(UNSEEN_EVENTS_MAX + 1)]  # fmt: skip
    await tenant.emitter.emit_many(many)
    target = Condemned(tenant, await tenant.blobs.put(b"x"))
    assert await target.condemn(0) is None
    assert await target.condemn(1) == [target.digest]


async def test_a_fence_is_lifted_only_by_who_knows_it_and_after_the_deletion(tenant: Tenant) -> None:
    fences = BlobFences(tenant.database, tenant.reader)
    target = Condemned(tenant, await tenant.blobs.put(b"x"))
    await target.condemn(0)
    first = await fences.standing(target.digest)
    assert first is not None
    assert not first.is_deleted
    assert await fences.lift(target.digest, first) is False, "its deletion has not returned"
    await target.deleted()
    await target.condemn(0)
    assert await fences.lift(target.digest, first) is False, "it was condemned anew"
    await target.deleted()
    second = await fences.standing(target.digest)
    assert second == Fence(second.fence_id, is_deleted=True) if second else False
    assert second is not None
    assert await fences.lift(target.digest, second) is True
    assert await fences.lift(target.digest, second) is False


async def test_an_append_in_a_transaction_from_before_the_condemnation_fails(tenant: Tenant) -> None:
    """Under REPEATABLE READ it would not see the fence; that condemning moves the head is what stops it."""
    writer = await tenant.database.connect(Role.WRITER)
    await writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await writer.fetchval("SELECT tenant_id FROM ledger.identity")  # its view of the database is from now
    target = Condemned(tenant, await tenant.blobs.put(b"x"))
    await target.condemn(0)
    with pytest.raises(asyncpg.SerializationError):
        await writer.fetchrow(
            "SELECT * FROM ledger.append_event_v1(gen_random_uuid(), 'r', 'artifact.stored', 's', 1, NULL, "
            "NULL, 1::smallint, now(), $1, substr(sha256(''), 1, 16))",
            f'{{"name":"x","ref":{{"digest":"{target.digest}"}}}}'.encode(),
        )
    await writer.close()


async def test_there_is_one_collection_at_a_time(tenant: Tenant) -> None:
    async with Sweeper.open(tenant.database):
        with pytest.raises(CollectionRunning, match="by another process"):
            await collect_garbage(tenant)
    await collect_garbage(tenant)


async def test_a_sweep_that_died_is_finished_by_the_next_once_it_must_be_dead(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Condemned(tenant, await tenant.blobs.put(b"x"))
    await target.condemn(0)
    async with Sweeper.open(tenant.database) as sweeper:
        assert await sweeper.take_over(3600, 10) == []
    monkeypatch.setattr("ledger.upkeep.collecting.SILENT_SECONDS", 0.0)
    report = await collect_garbage(tenant)
    assert report.taken_over == 1
    assert await stored(tenant) == set()


async def test_roots_that_cannot_be_read_stop_it(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    await tenant.blobs.put(b"garbage")
    await tenant.artifacts.put(b"kept", path(tenant, "a"))

    async def refuse(self: Log, after: int, upto: int) -> Any:
        raise ConnectionError("no roots today")
        yield

    monkeypatch.setattr(Log, "pages", refuse)
    with pytest.raises(ConnectionError, match="no roots today"):
        await collect_garbage(tenant, grace_seconds=0)
    assert len(await stored(tenant)) == 2
