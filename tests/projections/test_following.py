"""Following: tenants shared between processes, each led by one, and none left alone."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from database_rows import busy_run, connected, started, update

from ledger import Event, EventType, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import ProjectionStopped, TenantNotFound
from ledger.store.wakeup import Silence
from projections import Projection, StreamRows, rebuild, verify
from projections.core import CORE
from projections.following import Follower, follower, session
from projections.following.leadership import Leadership, leaders
from projections.following.slots import Slots
from projections.installed import Projections
from projections.lost import mark_lost, overdue_attempts, seconds_to_next_overdue
from projections.projector import Projector
from projections.rows import Row
from projections.standing import standings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(follower, "INSERTIONS_SECONDS", 0.1)
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.02)


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


@asynccontextmanager
async def following(
    ledger: Ledger, *tenants: Tenant, projections: Projections = (CORE,), **options: Any
) -> AsyncIterator[Follower]:
    found = ledger.follower([tenant.tenant_id for tenant in tenants], projections=projections, **options)
    task = asyncio.create_task(found.run_until_cancelled())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)


async def connections(tenant: Tenant) -> int:
    """How many sessions there are in the tenant's database."""
    connection = await tenant.database.server.connect()
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename IS NOT NULL",
            tenant.database.name,
        )
        return count
    finally:
        await connection.close()


async def another_tenant(ledger: Ledger) -> Tenant:
    tenant_id = f"t-{uuid4().hex[:12]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Another")
    return await ledger.tenant(tenant_id)


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
    await project(tenant)
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


# Leading


@asynccontextmanager
async def leading(ledger: Ledger, group: str) -> AsyncIterator[Leadership]:
    found = Leadership(ledger.server, group)
    await found.open(lambda: None)
    try:
        yield found
    finally:
        found.close()


async def test_a_tenant_has_one_leader_and_those_who_follow_the_same_share_fairly(ledger: Ledger) -> None:
    group = uuid4().hex
    tenants = {f"{group}-{number}" for number in range(10)}
    async with leading(ledger, group) as one:
        assert await one.take(tenants) == tenants
        async with leading(ledger, group) as other:
            assert await other.take(tenants) == set()
            surplus = await one.surplus(tenants)
            assert len(surplus) == 5
            for tenant_id in surplus:
                await one.cease(tenant_id)
            assert await one.take(tenants) == set()  # the other is to have them
            assert await other.take(tenants) == surplus
            assert await one.surplus(tenants) == set()
            named = await leaders(ledger.server, tenants)
            assert named.keys() == tenants
            assert set(named.values()) == {f"{os.uname().nodename}:{os.getpid()}"[:49]}


async def test_a_tenant_that_nobody_takes_is_taken_beyond_the_share(ledger: Ledger) -> None:
    group = uuid4().hex
    tenants = {f"{group}-{number}" for number in range(4)}
    async with leading(ledger, group) as one, leading(ledger, group):
        for _ in range(3):
            await one.take(tenants)
        assert len(one.led) == 2  # half of them, and the other takes none
        await one.take(tenants)
        assert one.led == tenants


async def test_tenants_that_are_not_followed_any_more_are_given_up(ledger: Ledger) -> None:
    group = uuid4().hex
    async with leading(ledger, group) as one:
        await one.take({f"{group}-a", f"{group}-b"})
        assert await one.surplus({f"{group}-a"}) == {f"{group}-b"}


async def test_a_leader_that_loses_its_connection_leads_nothing(ledger: Ledger) -> None:
    group = uuid4().hex
    lost = asyncio.Event()
    one = Leadership(ledger.server, group)
    await one.open(lost.set)
    await one.take({group})
    connection = await ledger.server.connect()
    await connection.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l, hashtextextended('daicho.follow:' || $1, 0) k "
        "WHERE l.locktype = 'advisory' AND l.objid = (k & 4294967295)::oid",
        group,
    )
    await connection.close()
    async with asyncio.timeout(10):
        await lost.wait()
    assert not one.is_held
    async with leading(ledger, group) as other:
        assert await other.take({group}) == {group}


async def test_a_follower_that_lost_the_control_database_for_a_moment_goes_on(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.05)
    heard: list[str] = []
    async with following(ledger, tenant) as found:
        found.changed = lambda _tenant_id, what: heard.append(what)

        async def leads() -> bool:
            return heard[-1:] == ["leading"]

        await until(leads)
        connection = await ledger.server.connect()
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks l, hashtextextended('daicho.follow:' || $1, 0) k "
            "WHERE l.locktype = 'advisory' AND l.objid = (k & 4294967295)::oid",
            tenant.tenant_id,
        )
        await connection.close()

        async def leads_again() -> bool:
            return heard == ["leading", "left", "leading"]

        await until(leads_again)
        recorded = await busy_run(tenant, "run-1")
        await tenant.wait_projected(recorded[-1].position)


async def test_a_tenant_that_is_not_there_is_named_at_once(ledger: Ledger) -> None:
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await ledger.follower(["nobody"]).run_until_cancelled()


async def test_a_suspended_tenant_is_left_and_taken_up_again(ledger: Ledger, tenant: Tenant) -> None:
    heard: list[str] = []
    async with following(ledger, tenant) as found:
        found.changed = lambda _tenant_id, what: heard.append(what)

        async def has_heard(*words: str) -> bool:
            return tuple(heard) == words

        await until(lambda: has_heard("leading"))
        await ledger.tenants.suspend(tenant.tenant_id)
        await until(lambda: has_heard("leading", "left"))
        await ledger.tenants.resume(tenant.tenant_id)
        await until(lambda: has_heard("leading", "left", "leading"))


# Processes


class Process:
    """`daicho follow` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().strip()


@asynccontextmanager
async def follow_process(home: Path, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ledger.cli import main; main()", "follow", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "DAICHO_HOME": str(home)},
    )  # fmt: skip
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_when_a_leader_is_killed_another_process_takes_over_within_seconds(
    home: Path, ledger: Ledger, tenant: Tenant
) -> None:
    named = ("-t", tenant.tenant_id)
    async with follow_process(home, *named) as leader:
        assert await leader.line() == f"leading {tenant.tenant_id}"
        async with follow_process(home, *named) as other:
            recorded = await busy_run(tenant, "run-1")
            await tenant.wait_projected(recorded[-1].position)
            leader.process.send_signal(signal.SIGKILL)
            assert await other.line() == f"leading {tenant.tenant_id}"
            later = await busy_run(tenant, "run-2")
            await tenant.wait_projected(later[-1].position)
            other.process.send_signal(signal.SIGTERM)
            assert await other.line() == f"left {tenant.tenant_id}"
            assert await other.process.wait() == 0
    assert (await verify(tenant)).ok


# Attempts that run too long


async def running(tenant: Tenant, seconds_ago: float, timeout_seconds: float | None, run: str) -> None:
    step = Event(
        event_type=EventType.STEP_STARTED,
        run_id=run,
        step_id="draft",
        attempt=1,
        tenant_id=tenant.tenant_id,
        timestamp=datetime.now(UTC) - timedelta(seconds=seconds_ago),
        payload={} if timeout_seconds is None else {"timeout_seconds": timeout_seconds},
    )
    await tenant.emitter.emit_many([started(tenant, run), step])


async def project(tenant: Tenant) -> None:
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()


async def test_an_attempt_past_its_timeout_and_the_grace_is_recorded_as_lost_once(tenant: Tenant) -> None:
    await running(tenant, 100, 60, "late")
    await running(tenant, 100, 80, "in-grace")
    await running(tenant, 100, None, "unlimited")
    await running(tenant, 100, 1e300, "for-ever")
    await project(tenant)

    overdue = await overdue_attempts(tenant.reader, grace_seconds=30)
    assert [attempt.run_id for attempt in overdue] == ["late"]
    seconds = await seconds_to_next_overdue(tenant.reader, grace_seconds=30)
    assert seconds is not None
    assert -12 < seconds < -9
    [first] = await mark_lost(tenant.store, overdue)
    assert await mark_lost(tenant.store, overdue) == [first]  # whoever sweeps again records nothing new
    await project(tenant)

    rows = await tenant.reader.fetch("SELECT status, lost_by FROM projection.attempts WHERE run_id = 'late'")
    assert [tuple(row) for row in rows] == [("lost", "daicho")]
    assert await overdue_attempts(tenant.reader, grace_seconds=30) == []


async def test_an_end_that_was_recorded_meanwhile_wins_over_the_sweep(tenant: Tenant) -> None:
    await running(tenant, 100, 10, "late")
    await project(tenant)
    overdue = await overdue_attempts(tenant.reader)
    end = Event(
        event_type=EventType.STEP_SUCCEEDED, run_id="late", step_id="draft", tenant_id=tenant.tenant_id
    )
    await tenant.emitter.emit(end)

    assert await mark_lost(tenant.store, overdue) == []
    assert await tenant.store.head() == 3


async def test_a_follower_sweeps_when_an_attempt_comes_to_be_overdue(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SWEEP_SPACING_SECONDS", 0.1)
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.1)
    await running(tenant, 0, 1.0, "run-1")
    async with following(ledger, tenant, grace_seconds=0.2):
        await tenant.wait_projected(3)  # step.lost
    [event] = await tenant.store.read(2)
    assert (event.event_type, event.actor) == (EventType.STEP_LOST, "daicho")
    async with connected(tenant) as connection:
        assert await connection.fetchval("SELECT status FROM projection.steps") == "lost"
