"""Following: tenants shared between processes, each led by one, and none left alone."""

import asyncio
from dataclasses import dataclass
from typing import ClassVar
from uuid import uuid4

import pytest
from database_rows import busy_run, catch_up, started, update
from followers import another_tenant, connections, following, hurry, until

from ledger import Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import ProjectionStopped
from ledger.store.wakeup import Silence
from projections import Projection, StreamRows, rebuild, verify
from projections.core import CORE
from projections.following import follower, session
from projections.following.slots import Slots
from projections.rows import Row
from projections.standing import standings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@dataclass(slots=True, eq=False)
class CountRow(Row):
    TABLE: ClassVar[str] = "tally_counts"
    KEY: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str
    events: int = 0


class Tally(Projection[StreamRows]):
    """Counts the events of a run; it cannot bear those at `poison`."""

    name = "tally"
    tables = (CountRow,)

    def __init__(self, poison: int | None = None) -> None:
        self.poison = poison

    def new_state(self, run_id: str) -> StreamRows:
        return StreamRows(run_id)

    def fold(self, state: StreamRows, event: RecordedEvent) -> None:
        if event.position == self.poison:
            raise ValueError("cannot bear this one")
        state.row(CountRow).events += 1


# Keeping up


async def test_what_was_recorded_before_and_after_is_projected(ledger: Ledger, tenant: Tenant) -> None:
    first = await busy_run(tenant, "run-1")
    async with following(ledger, tenant):
        await tenant.wait_projected(first[-1].position)
        later = await busy_run(tenant, "run-2")
        await tenant.wait_projected(later[-1].position)
    assert (await verify(tenant)).ok


async def test_every_projection_is_followed_each_by_itself(ledger: Ledger, tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    async with following(ledger, tenant, projections=(CORE, Tally())):
        await tenant.wait_projected(8, projection="tally")
        await tenant.wait_projected(8)
    assert (await verify(tenant, projection=Tally())).ok
    rows = await tenant.reader.fetch("SELECT events FROM projection.tally_counts")
    assert [row["events"] for row in rows] == [8]


async def test_a_poison_event_stops_only_its_projection_and_everybody_can_read_why(
    ledger: Ledger, tenant: Tenant
) -> None:
    await busy_run(tenant, "run-1")
    both = (CORE, Tally(poison=5))
    async with following(ledger, tenant, projections=both):
        later = await busy_run(tenant, "run-2")
        await tenant.wait_projected(later[-1].position)

        async def is_stopped() -> bool:
            return (await standings(tenant, both))[1].state == "stopped"

        await until(is_stopped)
        more = await busy_run(tenant, "run-3")
        await tenant.wait_projected(more[-1].position)

    core, tally = await standings(tenant, both)
    assert (core.state, core.lag) == ("current", 0)
    assert (tally.position, tally.stopped_position, tally.lag) == (4, 5, 20)
    assert tally.stopped_reason == "cannot bear this one"
    assert tally.fix == f"daicho tail -t {tenant.tenant_id} --after 4 --json | head -1"

    with pytest.raises(ProjectionStopped, match="position 5: cannot bear"):
        await tenant.wait_projected(more[-1].position, projection="tally")
    async with following(ledger, tenant, projections=(CORE, Tally())):  # the cured one goes on

        async def is_current() -> bool:
            return (await standings(tenant, both))[1].state == "current"

        await until(is_current)


async def test_tables_that_another_version_filled_are_told_and_left_alone(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STOPPED_SECONDS", 0.2)
    await busy_run(tenant, "run-1")
    await rebuild(tenant)
    await update(tenant, "UPDATE projection.checkpoints SET version = 1")
    async with following(ledger, tenant):
        await asyncio.sleep(0.5)
        [core] = await standings(tenant, (CORE,))
        assert (core.state, core.version, core.expected_version) == ("outdated", 1, CORE.version)
        assert core.fix == f"daicho rebuild -t {tenant.tenant_id} --projection core"
        await rebuild(tenant)  # and the follower takes them up again by itself
        recorded = await busy_run(tenant, "run-2")
        await tenant.wait_projected(recorded[-1].position)


async def test_how_far_a_projection_lags_is_told_in_positions_and_seconds(tenant: Tenant) -> None:
    await busy_run(tenant, "run-1")
    await asyncio.sleep(0.05)
    core, tally = await standings(tenant, (CORE, Tally()))
    assert (core.state, core.position, core.lag) == ("behind", 0, 8)
    assert 0.05 <= core.lag_seconds < 20
    assert (tally.state, tally.lag) == ("not_made", 8)


# Idle tenants


async def test_an_idle_tenant_costs_no_connection_and_is_woken_again(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.1)
    recorded = await busy_run(tenant, "run-1")
    await catch_up(tenant)
    await tenant.wait_projected(recorded[-1].position)
    before = await connections(tenant)  # a writer's and a reader's of this test
    recorded = await busy_run(tenant, "run-0")
    async with following(ledger, tenant):
        await tenant.wait_projected(recorded[-1].position)

        async def is_idle() -> bool:
            return await connections(tenant) <= before

        await until(is_idle)
        later = await busy_run(tenant, "run-2")
        await tenant.wait_projected(later[-1].position)


async def test_where_no_wake_up_arrives_counters_tell_what_was_written(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(follower, "INSERTIONS_SECONDS_UNHEARD", 0.1)
    monkeypatch.setattr(ledger, "_wakeups", Silence())
    recorded = await busy_run(tenant, "run-1")
    async with following(ledger, tenant):
        await tenant.wait_projected(recorded[-1].position)
        await asyncio.sleep(0.5)  # idle
        later = await busy_run(tenant, "run-2")
        await tenant.store.close()  # the writer's backend tells its counters at the latest when it ends
        await tenant.wait_projected(later[-1].position)


async def test_more_tenants_than_slots_take_turns(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "TENANTS_AT_ONCE", 1)
    other = await another_tenant(ledger)
    async with following(ledger, tenant, other):
        for _ in range(2):
            for each in (tenant, other):
                recorded = await busy_run(each, f"run-{uuid4()}")
                await each.wait_projected(recorded[-1].position)


async def test_a_tenant_that_always_has_work_makes_room_for_one_that_waits(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "TENANTS_AT_ONCE", 1)
    monkeypatch.setattr(session, "TURN_SECONDS", 0.1)
    other = await another_tenant(ledger)
    done = asyncio.Event()

    async def write_steadily() -> None:
        number = 0
        while not done.is_set():
            number += 1
            await tenant.emitter.emit(started(tenant, f"run-{number}"))
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write_steadily())
    async with following(ledger, tenant, other):
        recorded = await busy_run(other, "run-1")
        await other.wait_projected(recorded[-1].position, timeout_seconds=60)
        done.set()
        await writing
        await tenant.wait_projected(await tenant.store.head())


async def test_slots_say_whether_somebody_waits() -> None:
    slots = Slots(1)
    async with slots.one():
        assert not slots.are_wanted
        waiting = asyncio.create_task(slots.one().__aenter__())
        await asyncio.sleep(0)
        assert slots.are_wanted
    await waiting
    assert not slots.are_wanted
