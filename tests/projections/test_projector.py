"""Projector: rows and checkpoint together, whatever is killed and whoever else is projecting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from database_rows import busy_run, connected, live_records, started, terminate, update
from projectors import checkpoint, following, projecting, reached

from ledger import Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import ProjectionBehind, StoreError, StoreUnavailable
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections import core as core_module
from projections import projector as projector_module
from projections import rebuild, verify
from projections.fold import RunState, fold
from projections.live_tables import advance


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nothing projects in the background unless a test says so."""
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def background(settings: Settings, tenant: Tenant) -> AsyncIterator[Tenant]:
    """The same tenant through a ledger that projects in the background."""
    live = settings.model_copy(update={"projection": "background"})
    async with await Ledger.open(live) as ledger:
        yield await ledger.tenant(tenant.tenant_id)


# Once


async def test_catching_up_brings_the_tables_to_the_head(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    async with projecting(tenant) as projector:
        assert await projector.catch_up() == 8
        assert await projector.catch_up() == 8

    assert await checkpoint(tenant) == 8
    assert (await verify(tenant)).ok


async def test_the_head_of_an_empty_tenant_is_zero(tenant: Tenant) -> None:
    async with projecting(tenant) as projector:
        assert await projector.catch_up() == 0


async def test_a_projector_goes_on_where_another_stopped(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[int] = []

    def noted(state: RunState, event: RecordedEvent) -> None:
        folded.append(event.position)
        fold(state, event)

    monkeypatch.setattr(core_module, "fold", noted)
    for _ in range(3):
        await busy_run(tenant, "run-1")
        async with projecting(tenant) as projector:
            await projector.catch_up()

    assert folded == list(range(1, 25))
    assert (await verify(tenant)).ok


async def test_more_runs_than_it_remembers_are_loaded_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector_module, "RUNS_REMEMBERED_MAX", 2)
    monkeypatch.setattr(projector_module, "BATCH_EVENTS_MAX", 3)
    async with projecting(tenant) as projector:
        for number in (1, 2, 3, 4, 1, 2, 3, 4):
            await busy_run(tenant, f"run-{number}")
            await projector.catch_up()
            assert len(projector._states) <= 2

    assert (await verify(tenant)).ok


# Rows and checkpoint commit together


async def test_a_backend_killed_before_it_commits_leaves_nothing_half(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await busy_run(tenant, "run-1")
    empty = await live_records(tenant)

    async def killed_before_the_commit(connection: Connection, *what: Any) -> bool:
        async with connection.transaction():
            assert await advance(connection, *what)
            assert await connection.fetchval("SELECT count(*) FROM projection.runs") == 1
            await terminate(tenant, connection.get_server_pid())
        return True

    async with projecting(tenant) as projector:
        with monkeypatch.context() as patched:
            patched.setattr(projector_module, "advance", killed_before_the_commit)
            with pytest.raises(StoreUnavailable):
                await projector.catch_up()
        assert await live_records(tenant) == empty
        assert await checkpoint(tenant) == 0

        assert await projector.catch_up() == 8
    assert (await verify(tenant)).ok


async def test_a_projector_cancelled_before_it_commits_leaves_nothing_half(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await busy_run(tenant, "run-1")
    empty = await live_records(tenant)
    written = asyncio.Event()

    async def stuck_before_the_commit(connection: Connection, *what: Any) -> bool:
        async with connection.transaction():
            assert await advance(connection, *what)
            written.set()
            await asyncio.sleep(60)
        return True

    async with projecting(tenant) as projector:
        with monkeypatch.context() as patched:
            patched.setattr(projector_module, "advance", stuck_before_the_commit)
            task = asyncio.create_task(projector.catch_up())
            await written.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await live_records(tenant) == empty
        assert await checkpoint(tenant) == 0

        assert await projector.catch_up() == 8
    assert (await verify(tenant)).ok


async def test_readers_see_rows_and_checkpoint_move_together(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector_module, "BATCH_EVENTS_MAX", 5)
    seen: list[tuple[int, int]] = []
    async with following(tenant), connected(tenant, Role.READER) as reader:
        emitting = asyncio.create_task(_emit_runs(tenant, 30))
        while not emitting.done() or seen[-1][0] < await tenant.store.head():
            statement = (
                "SELECT (SELECT position FROM projection.checkpoints), "
                "(SELECT coalesce(max(last_position), 0) FROM projection.runs)"
            )
            seen.append(tuple(await reader.fetchrow(statement)))
        await emitting

    assert all(position == newest for position, newest in seen)
    assert len(set(seen)) > 3


async def _emit_runs(tenant: Tenant, count: int) -> None:
    for number in range(count):
        await busy_run(tenant, f"run-{number % 5}")


# Several at once


async def test_two_projectors_at_once_give_the_right_tables(tenant: Tenant) -> None:
    async with following(tenant) as one, following(tenant) as other:
        await asyncio.gather(*(_emit_runs(tenant, 15) for _ in range(3)))
        await reached(tenant, await tenant.store.head())
        assert (one.stopped, other.stopped) == (None, None)

    report = await verify(tenant)
    assert report.ok
    assert report.position == 360


async def test_a_checkpoint_moved_by_another_is_noticed(tenant: Tenant) -> None:
    async with projecting(tenant) as one, projecting(tenant) as other:
        for projector in (one, other, other, one, one, other):
            await busy_run(tenant, "run-1")  # each must forget what it remembers of this run
            await projector.catch_up()

    assert (await verify(tenant)).ok
    assert await checkpoint(tenant) == 48


async def test_a_missing_checkpoint_stops_it_until_a_rebuild(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    await update(tenant, "DELETE FROM projection.checkpoints")
    async with projecting(tenant) as projector:
        with pytest.raises(StoreError, match="no checkpoint"):
            await projector.catch_up()
        await projector.run_until_cancelled()
        assert projector.stopped is not None

    await rebuild(tenant)
    async with projecting(tenant) as projector:
        assert await projector.catch_up() == 9
    assert (await verify(tenant)).ok


# Live


async def test_who_waits_reads_its_own_writes(background: Tenant) -> None:
    for number in range(20):
        recorded = await background.emitter.emit(started(background, f"run-{number}"))
        await background.wait_projected(recorded.position)
        rows = await background.reader.fetch(
            "SELECT status FROM projection.runs WHERE run_id = $1", f"run-{number}"
        )
        assert [row["status"] for row in rows] == ["running"]
    assert await background.projected_position() == 20


async def test_events_of_another_process_are_followed_too(tenant: Tenant, background: Tenant) -> None:
    recorded = await busy_run(tenant, "run-1")  # this one's appends give the other's projector no sign

    await background.wait_projected(recorded[-1].position, timeout_seconds=5)
    await tenant.wait_projected(recorded[-1].position, timeout_seconds=5)


async def test_a_ledger_opened_again_goes_on(settings: Settings, tenant: Tenant) -> None:
    live = settings.model_copy(update={"projection": "background"})
    for number in range(3):
        async with await Ledger.open(live) as ledger:
            again = await ledger.tenant(tenant.tenant_id)
            recorded = await busy_run(again, "run-1")
            await again.wait_projected(recorded[-1].position)
            assert recorded[-1].position == 8 * (number + 1)
    assert (await verify(tenant)).ok


async def test_who_waits_where_nobody_projects_hears_so(tenant: Tenant) -> None:
    recorded = await busy_run(tenant, "run-1")
    with pytest.raises(ProjectionBehind, match="position 8") as caught:
        await tenant.wait_projected(recorded[-1].position, timeout_seconds=0.2)
    assert caught.value.retryable
