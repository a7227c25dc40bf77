"""A projector that meets an event or a row it cannot take, or loses its connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from database_rows import busy_run, started, terminate, terminate_role
from projectors import checkpoint, following, projecting, reached, refuse

from ledger import Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import ProjectionStopped
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections import core as core_module
from projections import projector as projector_module
from projections import verify
from projections.fold import RunState, fold
from projections.live_tables import advance
from projections.projector import Stopped


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


# Events that cannot be projected


async def test_a_poison_event_stops_it_there_with_the_reason(
    tenant: Tenant, background: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, 11, ValueError("no such moon"))
    await tenant.emitter.emit_many([started(tenant, f"run-{number}") for number in range(20)])

    await background.wait_projected(10)  # whatever batch they come in, those before it are there
    for position in (11, 20):
        with pytest.raises(ProjectionStopped, match="position 11: no such moon"):
            await background.wait_projected(position, timeout_seconds=10)

    assert await checkpoint(tenant) == 10
    assert (await verify(tenant)).ok
    monkeypatch.undo()
    async with projecting(tenant) as projector:
        assert await projector.catch_up() == 20
    assert (await verify(tenant)).ok


async def test_catching_up_raises_at_a_poison_event(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, 5, KeyError("digest"))
    await busy_run(tenant, "run-1")
    async with projecting(tenant) as projector:
        with pytest.raises(ProjectionStopped, match="position 5") as caught:
            await projector.catch_up()
        assert isinstance(caught.value.__cause__, KeyError)
        assert projector.stopped == Stopped(5, "'digest'")
    assert await checkpoint(tenant) == 4


def _number_in_a_column_of_text(state: RunState) -> None:
    assert state.run is not None
    state.run.pipeline = 5  # type: ignore[assignment]


def _text_that_postgresql_refuses(state: RunState) -> None:
    assert state.run is not None
    state.run.pipeline = "\x00"


@pytest.mark.parametrize("spoil", [_number_in_a_column_of_text, _text_that_postgresql_refuses])
async def test_a_row_that_the_database_refuses_stops_it_at_its_event(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[RunState], None]
) -> None:
    def spoiled(state: RunState, event: RecordedEvent) -> None:
        fold(state, event)
        if event.position == 6:
            spoil(state)

    monkeypatch.setattr(core_module, "fold", spoiled)
    await busy_run(tenant, "run-1")
    async with projecting(tenant) as projector:
        async with asyncio.timeout(10):
            await projector.run_until_cancelled()
        assert projector.stopped is not None
        assert projector.stopped.position == 6
    assert await checkpoint(tenant) == 5
    monkeypatch.undo()
    assert (await verify(tenant)).ok


async def test_after_a_stop_at_one_event_it_works_in_batches_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def noted(connection: Connection, *what: Any) -> bool:
        sizes.append(sum(type(row).__name__ == "RunRow" for row in what[-1]))
        if len(sizes) == 1:
            raise RuntimeError("once, for no reason")
        return await advance(connection, *what)

    monkeypatch.setattr(projector_module, "advance", noted)
    await tenant.emitter.emit_many([started(tenant, f"run-{number}") for number in range(5)])
    async with projecting(tenant) as projector:
        assert await projector.catch_up() == 5
        await tenant.emitter.emit_many([started(tenant, f"more-{number}") for number in range(5)])
        assert await projector.catch_up() == 10
        assert projector.stopped is None

    assert sizes == [5, 1, 1, 1, 1, 1, 5]


# A PostgreSQL that goes away


async def test_a_follower_whose_backend_is_killed_goes_on_by_itself(tenant: Tenant) -> None:
    async with following(tenant) as projector:
        for number in range(4):
            recorded = await busy_run(tenant, f"run-{number}")
            await reached(tenant, recorded[-1].position)
            assert await terminate_role(tenant, Role.PROJECTOR) == 1
        assert projector.stopped is None

    assert (await verify(tenant)).ok


async def test_a_follower_killed_in_the_middle_of_its_work_goes_on_by_itself(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0

    async def killed_twice(connection: Connection, *what: Any) -> bool:
        nonlocal kills
        if kills < 2:
            kills += 1
            await terminate(tenant, connection.get_server_pid())
        return await advance(connection, *what)

    monkeypatch.setattr(projector_module, "advance", killed_twice)
    async with following(tenant) as projector:
        recorded = await busy_run(tenant, "run-1")
        await reached(tenant, recorded[-1].position)
        assert projector.stopped is None

    assert kills == 2
    assert (await verify(tenant)).ok


async def test_a_background_projector_survives_the_loss_of_every_connection(background: Tenant) -> None:
    recorded = await busy_run(background, "run-1")
    await background.wait_projected(recorded[-1].position)
    server = await background.database.server.connect()
    try:
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            background.database.name,
        )
    finally:
        await server.close()

    recorded = await busy_run(background, "run-2")
    await background.wait_projected(recorded[-1].position, timeout_seconds=15)

    assert (await verify(background)).ok
