"""Rebuild: everything folded afresh in one transaction. Readers see the old rows until it commits, and
whatever stops it leaves the old rows."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from database_rows import busy_run, catch_up, connected, live_records, terminate, update

from ledger import EventType, Settings, Tenant
from ledger.contract.names import TENANT_STREAM
from ledger.errors import RebuildRunning, StoreUnavailable
from ledger.store.tenant_database import Role
from projections import Projector, rebuild, verify
from projections.rebuilding import rebuild as rebuild_module
from projections.rebuilding.new_tables import build_indexes

RUNS = 12
EVENTS = 8 * RUNS + 1  # and a prompt pack
TABLES = ("runs", "steps", "attempts", "artifacts", "audit_logs", "anomalies", "prompts")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing projects in the background unless a test says so."""
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def projected(tenant: Tenant) -> Tenant:
    for number in range(RUNS):
        await busy_run(tenant, f"run-{number}")
    await tenant.prompts.publish("house", {"outline": "Outline $topic"})
    await catch_up(tenant)
    return tenant


class Pause:
    """Holds the rebuild once its new tables are filled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.backend = 0

        async def paused(connections: Sequence[Any], tables: Sequence[Any]) -> None:
            self.backend = connections[0].get_server_pid()
            self.reached.set()
            await self.go_on.wait()
            await build_indexes(connections, tables)

        monkeypatch.setattr(rebuild_module, "build_indexes", paused)


async def test_the_result_equals_what_was_projected(projected: Tenant) -> None:
    before = await live_records(projected)
    seen: list[tuple[str, int, int]] = []

    report = await rebuild(projected, progress=lambda *how_far: seen.append(how_far))

    assert await live_records(projected) == before
    assert (report.position, report.events) == (EVENTS, EVENTS)
    assert report.rows == {table: len(rows) for table, rows in before.items()}
    folding = [(done, total) for phase, done, total in seen if phase == "folding"]
    assert folding[-1] == (EVENTS, EVENTS)
    assert folding == sorted(folding)
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert phases == ["folding", "building indexes", "catching up", "swapping"]
    assert (await verify(projected)).ok


async def test_an_empty_tenant_can_be_rebuilt(tenant: Tenant) -> None:
    report = await rebuild(tenant)

    assert (report.position, report.events) == (0, 0)
    assert set(report.rows.values()) == {0}


async def test_it_records_that_it_happened_with_the_digests(projected: Tenant) -> None:
    report = await rebuild(projected)

    [recorded] = await projected.store.read(after=report.position)
    assert (recorded.event_type, recorded.run_id) == (EventType.PROJECTION_REBUILT, TENANT_STREAM)
    assert recorded.payload is not None
    assert recorded.payload["position"] == report.position
    assert recorded.payload["digests"] == report.digests
    verified = await verify(projected)
    assert {name: table.live_digest for name, table in verified.tables.items()} == report.digests

    await catch_up(projected)
    async with connected(projected, Role.READER) as reader:
        runs = await reader.fetchval("SELECT count(*) FROM projection.runs WHERE run_id = $1", TENANT_STREAM)
        acts = await reader.fetchval(
            "SELECT count(*) FROM projection.audit_logs WHERE action = 'projection.rebuilt'"
        )
    assert (runs, acts) == (0, 1)


async def test_two_rebuilds_of_the_same_events_have_the_same_digests(projected: Tenant) -> None:
    first, second = await rebuild(projected), await rebuild(projected)

    changed = {table for table in TABLES if first.digests[table] != second.digests[table]}
    assert changed == {"audit_logs"}, "the first rebuild is an act of its own"
    assert second.rows["audit_logs"] == first.rows["audit_logs"] + 1


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM projection.{table}",
        "UPDATE projection.{table} SET run_id = run_id || '-moved'",
        "UPDATE projection.checkpoints SET position = 3 WHERE '{table}' <> ''",
        "UPDATE projection.checkpoints SET position = 999999 WHERE '{table}' <> ''",
        "DELETE FROM projection.checkpoints WHERE '{table}' <> ''",
    ],
)
async def test_it_heals_whatever_was_done_to_the_tables(projected: Tenant, harm: str) -> None:
    before = await live_records(projected)
    for table in TABLES:
        await update(projected, harm.format(table=table))
    assert not (await verify(projected)).ok

    await rebuild(projected)

    assert await live_records(projected) == before
    assert (await verify(projected)).ok
    await catch_up(projected)
    assert (await verify(projected)).position == await projected.store.head()


async def test_readers_see_the_old_rows_until_it_commits(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {table: len(rows) for table, rows in (await live_records(projected)).items()}
    pause = Pause(monkeypatch)
    task = asyncio.create_task(rebuild(projected))
    await pause.reached.wait()
    seen: list[dict[str, int]] = []
    async with connected(projected, Role.READER) as reader:

        async def look() -> None:
            columns = ", ".join(f"(SELECT count(*) FROM projection.{table}) AS {table}" for table in TABLES)
            seen.append(dict(await reader.fetchrow(f"SELECT {columns}")))

        for _ in range(10):
            await look()
        pause.go_on.set()
        while not task.done():
            await look()
        await task
        await look()

    assert len(seen) > 10
    assert all(found == counts for found in seen)


async def test_a_rebuild_that_is_cancelled_leaves_the_old_rows(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, head = await live_records(projected), await projected.store.head()
    with monkeypatch.context() as patched:
        pause = Pause(patched)
        task = asyncio.create_task(rebuild(projected))
        await pause.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert await live_records(projected) == before
    assert await projected.store.head() == head, "nothing was rebuilt, so nothing says so"
    await rebuild(projected)
    assert await live_records(projected) == before


async def test_a_rebuild_whose_backend_is_killed_leaves_the_old_rows(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, head = await live_records(projected), await projected.store.head()
    with monkeypatch.context() as patched:
        pause = Pause(patched)
        task = asyncio.create_task(rebuild(projected))
        await pause.reached.wait()
        await terminate(projected, pause.backend)
        pause.go_on.set()
        with pytest.raises(StoreUnavailable):
            await task

    assert await live_records(projected) == before
    assert await projected.store.head() == head
    await rebuild(projected)
    assert await live_records(projected) == before


async def test_a_second_rebuild_at_once_is_refused(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(monkeypatch)
    task = asyncio.create_task(rebuild(projected))
    await pause.reached.wait()

    async with asyncio.timeout(5):
        with pytest.raises(RebuildRunning):
            await rebuild(projected)

    pause.go_on.set()
    assert (await task).events == EVENTS
    assert (await verify(projected)).ok


async def test_appends_go_on_meanwhile_and_are_projected_afterwards(
    projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(monkeypatch)
    task = asyncio.create_task(rebuild(projected))
    await pause.reached.wait()

    async with asyncio.timeout(5):
        await busy_run(projected, "run-3")
        recorded = await busy_run(projected, "run-meanwhile")

    pause.go_on.set()
    report = await task
    assert report.position == recorded[-1].position
    compared = await verify(projected)
    assert compared.ok
    assert report.digests == {name: table.folded_digest for name, table in compared.tables.items()}
    await catch_up(projected)
    verified = await verify(projected)
    assert verified.ok
    assert verified.position == recorded[-1].position + 1  # and the fact that it was rebuilt


async def test_a_follower_and_rebuilds_at_full_speed_end_right(projected: Tenant) -> None:
    projector = Projector(projected.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    emitting = asyncio.create_task(_emit(projected))
    try:
        for _ in range(5):
            await rebuild(projected)
            assert (await verify(projected)).ok
        await emitting
        head = await projected.store.head()
        async with asyncio.timeout(20):
            while (await verify(projected)).position < head:
                pass
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await projector.close()

    assert projector.stopped is None
    report = await verify(projected)
    assert report.ok
    assert report.position == EVENTS + 8 * 40 + 5


async def _emit(tenant: Tenant) -> None:
    for number in range(40):
        await busy_run(tenant, f"run-{number % 15}")
