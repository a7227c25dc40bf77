"""Emitting: what is acknowledged is there, once, in order, whatever happens around it."""

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest

from ledger import Event, EventEmitter, Ledger, RecordedEvent, Settings, Tenant
from ledger.emitter import EmitterLimits
from ledger.errors import (
    EmitterClosed,
    EventConflict,
    InvalidEvent,
    StoreError,
    StoreUnavailable,
    TenantMismatch,
)
from ledger.store.append import Group, Outcome
from ledger.store.flights import Answered
from tests.support.events import assert_gapless, everything, fact

CHILD = Path(__file__).with_name("emitting_child.py")


async def test_200_tasks_emitting_to_3_tenants_lose_nothing_and_leave_no_gap(ledger: Ledger) -> None:
    tenants = []
    for _ in range(3):
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "One of three")
        tenants.append(await ledger.tenant(tenant_id))
    acknowledged: dict[str, list[RecordedEvent]] = {tenant.tenant_id: [] for tenant in tenants}

    async def work(task: int) -> None:
        for n in range(12):
            tenant = tenants[(task + n) % 3]
            event = fact(tenant, f"run-{task % 17}", task=task, n=n)
            if n % 4 == 3:
                acknowledged[tenant.tenant_id] += await tenant.emitter.emit_many([event, fact(tenant, "x")])
            else:
                acknowledged[tenant.tenant_id].append(await tenant.emitter.emit(event))

    await asyncio.gather(*(work(task) for task in range(200)))

    assert sum(map(len, acknowledged.values())) == 200 * 15
    for tenant in tenants:
        events = await everything(tenant)
        assert_gapless(events)
        assert events == sorted(acknowledged[tenant.tenant_id])


async def test_unawaited_emits_of_one_run_keep_their_order(tenant: Tenant) -> None:
    events = [fact(tenant, n=n) for n in range(500)]
    tasks = [asyncio.create_task(tenant.emitter.emit(event)) for event in events]
    await asyncio.gather(*tasks)
    assert [event.event_id for event in await everything(tenant)] == [event.event_id for event in events]


async def test_what_waits_together_is_committed_together(tenant: Tenant) -> None:
    await asyncio.gather(*(tenant.emitter.emit(fact(tenant)) for _ in range(200)))
    commits = {event.recorded_at for event in await everything(tenant)}
    assert len(commits) < 20  # one time per commit


@pytest.mark.parametrize(
    ("emitted", "batches"), [(16, [16]), (20, [20]), (31, [31]), (32, [16, 16]), (100, [50, 50])]
)
async def test_a_burst_is_divided_where_both_halves_are_worth_a_commit(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, emitted: int, batches: list[int]
) -> None:
    await tenant.emitter.emit_many([fact(tenant), fact(tenant)])
    sent: list[int] = []
    send_groups = tenant.store.send_groups

    def counted(groups: list[Group], answered: Answered) -> bool:
        sent.append(len(groups))
        return send_groups(groups, answered)

    monkeypatch.setattr(tenant.store, "send_groups", counted)
    await asyncio.gather(*(tenant.emitter.emit(fact(tenant, n=n)) for n in range(emitted)))
    assert sent == batches


async def test_the_queue_is_bounded_and_everyone_still_gets_through(tenant: Tenant) -> None:
    limits = EmitterLimits(queue_events_max=5, queue_bytes_max=2**20, batch_events_max=3)
    emitter = EventEmitter(tenant.store, limits)
    deepest = 0

    async def emit(n: int) -> RecordedEvent:
        nonlocal deepest
        recorded = await emitter.emit(fact(tenant, n=n))
        deepest = max(deepest, emitter.queue_depth)
        return recorded

    recorded = await asyncio.gather(*(emit(n) for n in range(100)))
    assert [event.position for event in recorded] == list(range(1, 101))  # first come, first served
    assert 0 < deepest <= 5
    assert emitter.queue_depth == 0


async def test_the_queue_is_bounded_in_bytes_too_and_takes_one_that_is_larger(tenant: Tenant) -> None:
    emitter = EventEmitter(tenant.store, EmitterLimits(queue_bytes_max=1_000))
    recorded = await asyncio.gather(*(emitter.emit(fact(tenant, text="x" * 5_000)) for _ in range(10)))
    assert [event.position for event in recorded] == list(range(1, 11))


async def test_a_group_over_the_limit_of_a_batch_is_refused(tenant: Tenant) -> None:
    emitter = EventEmitter(tenant.store, EmitterLimits(batch_events_max=3))
    with pytest.raises(InvalidEvent, match=r"at most 3.*4"):
        await emitter.emit_many([fact(tenant) for _ in range(4)])
    assert await emitter.emit_many([]) == []
    assert await tenant.store.head() == 0


async def test_an_event_of_another_tenant_is_refused_with_all_its_group(tenant: Tenant) -> None:
    stranger = fact(tenant).model_copy(update={"tenant_id": "stranger"})
    with pytest.raises(TenantMismatch, match="stranger"):
        await tenant.emitter.emit_many([fact(tenant), stranger])
    assert await tenant.store.head() == 0


async def test_emitted_again_while_the_first_is_in_flight_it_is_recorded_once(tenant: Tenant) -> None:
    event = fact(tenant, n=1)
    clash = event.model_copy(update={"payload": {"n": 2}})
    others = [fact(tenant, n=n) for n in range(20)]
    outcomes = await asyncio.gather(
        *(tenant.emitter.emit(each) for each in [event, *others[:10], clash, event, *others[10:], event]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[11], EventConflict)
    assert {outcome.position for outcome in (outcomes[0], outcomes[12], outcomes[-1])} == {1}
    events = await everything(tenant)
    assert len(events) == 21
    assert_gapless(events)


async def test_what_postgresql_refuses_of_one_event_is_that_callers_alone(tenant: Tenant) -> None:
    poison = fact(tenant).model_copy(update={"run_id": "a\x00b"})  # model_copy validates nothing
    outcomes = await asyncio.gather(
        *(tenant.emitter.emit(event) for event in [fact(tenant), fact(tenant), poison, fact(tenant)]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[2], StoreError)
    assert [event.position for event in outcomes if isinstance(event, RecordedEvent)] == [1, 2, 3]


async def test_a_cancelled_emit_harms_no_other(tenant: Tenant) -> None:
    rng = random.Random(7)
    acknowledged: list[RecordedEvent] = []
    cancelled = 0
    for _ in range(12):
        events = [fact(tenant, f"run-{n % 3}", n=n) for n in range(30)]
        tasks = [asyncio.create_task(tenant.emitter.emit(event)) for event in events]
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        await asyncio.sleep(rng.choice([0, 0.0005, 0.002]))
        for task in rng.sample(tasks, 12):
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                acknowledged.append(await task)
            cancelled += task.cancelled()
    events = await everything(tenant)
    assert cancelled > 20
    assert_gapless(events)
    assert set(acknowledged) <= set(events)
    assert len(acknowledged) == 12 * 30 - cancelled
    assert len({event.event_id for event in events}) == len(events)


async def test_close_waits_until_everything_is_acknowledged(tenant: Tenant) -> None:
    tasks = [asyncio.create_task(tenant.emitter.emit(fact(tenant, n=n))) for n in range(300)]
    await asyncio.sleep(0)
    await tenant.emitter.close()
    await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    assert len([task.result() for task in tasks]) == 300
    with pytest.raises(EmitterClosed, match="Retrying will not help"):
        await tenant.emitter.emit(fact(tenant))
    await tenant.emitter.close()
    assert await tenant.store.head() == 300


async def terminate_writers(ledger: Ledger, tenant: Tenant) -> int:
    """Writers carry their role from the start of the session; append statements name the function."""
    connection = await ledger.server.connect()
    ended = await connection.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = $1 AND query LIKE '%append%'",
        tenant.database.name,
    )
    await connection.close()
    return int(ended)


async def test_a_lost_connection_is_made_again_and_nothing_is_recorded_twice(
    ledger: Ledger, tenant: Tenant
) -> None:
    acknowledged: list[RecordedEvent] = []
    stop = asyncio.Event()

    async def work(task: int) -> None:
        while not stop.is_set():
            acknowledged.append(await tenant.emitter.emit(fact(tenant, f"run-{task}")))

    workers = [asyncio.create_task(work(task)) for task in range(50)]
    ended = 0
    for _ in range(8):
        await asyncio.sleep(0.12)
        ended += await terminate_writers(ledger, tenant)
    stop.set()
    await asyncio.gather(*workers)
    events = await everything(tenant)
    assert ended >= 4
    assert_gapless(events)
    assert sorted(acknowledged) == events


class LosesAnswers:
    """A fault: the commit happens and its answer is lost, every second time."""

    def __init__(self, tenant: Tenant) -> None:
        self._store = tenant.store
        self.tenant_id = tenant.tenant_id
        self.lost = 0

    def send_groups(self, groups: list[Group], answered: Answered) -> bool:
        def heard(answer: list[Outcome] | Exception) -> None:
            self.lost += 1
            answered(StoreUnavailable("the answer was lost") if self.lost % 2 else answer)

        return self._store.send_groups(groups, heard)

    async def append_groups(self, groups: list[Group]) -> list[Outcome]:
        outcomes = await self._store.append_groups(groups)
        self.lost += 1
        if self.lost % 2:
            raise StoreUnavailable("the answer was lost")
        return outcomes


async def test_a_batch_whose_answer_was_lost_is_answered_with_its_first_recording(tenant: Tenant) -> None:
    store = LosesAnswers(tenant)
    emitter = EventEmitter(store)  # type: ignore[arg-type]
    recorded = await asyncio.gather(*(emitter.emit(fact(tenant, n=n)) for n in range(40)))
    assert store.lost >= 2
    assert await everything(tenant) == recorded


class Unreachable:
    """A fault: a store that never answers ("hangs"), or fails at once ("fails")."""

    tenant_id = "t"

    def __init__(self, how: str) -> None:
        self.how = how

    def send_groups(self, groups: list[Group], answered: Answered) -> bool:
        return False

    async def append_groups(self, groups: list[Group]) -> list[Outcome]:
        if self.how == "hangs":
            await asyncio.sleep(3600)
        raise StoreUnavailable("out of reach")


@pytest.mark.parametrize("how", ["hangs", "fails"])
async def test_each_emit_hears_at_its_own_deadline(how: str) -> None:
    limits = EmitterLimits(queue_events_max=2, deadline_seconds=0.5)
    emitter = EventEmitter(Unreachable(how), limits)  # type: ignore[arg-type]
    event = Event(event_type="run.cancelled", tenant_id="t", run_id="r")

    async def emit(after_seconds: float) -> float:
        await asyncio.sleep(after_seconds)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"once or not at all.*Retrying may help"):
            await emitter.emit(event)
        return time.monotonic() - started

    waited = await asyncio.gather(*(emit(after) for after in (0, 0, 0, 0.2, 0.4)))
    assert all(0.45 < seconds < 2.0 for seconds in waited), waited
    if emitter._sender.repair is not None:  # the hanging append outlives its waiters; the store bounds it
        emitter._sender.repair.cancel()


async def test_a_sender_that_is_stopped_between_two_tries_leaves_nobody_waiting() -> None:
    emitter = EventEmitter(Unreachable("fails"), EmitterLimits(queue_events_max=1))  # type: ignore[arg-type]
    event = Event(event_type="run.cancelled", tenant_id="t", run_id="r")
    tasks = [asyncio.create_task(emitter.emit(event)) for _ in range(5)]
    await asyncio.sleep(0.02)  # in the pause after the first try
    assert emitter._sender.repair is not None
    emitter._sender.repair.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert all(isinstance(outcome, StoreUnavailable | EmitterClosed) for outcome in outcomes)


async def test_a_server_that_went_away_is_store_unavailable_and_one_that_returns_is_found() -> None:
    own = Path(tempfile.mkdtemp(prefix="daicho-away-"))
    own.chmod(0o711)
    settings = Settings(home=own / "home", emit_deadline_seconds=4.0, connect_timeout_seconds=0.5)
    try:
        async with await Ledger.open(settings) as ledger:
            await ledger.tenants.create_tenant_db("away", "Away")
            tenant = await ledger.tenant("away")
            await tenant.emitter.emit(fact(tenant))
            address = tenant.database.server.address
            reachable = dict(address)
            connection = await ledger.server.connect()
            address["host"] = "/nowhere"  # the network is cut: no new connection…
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                tenant.database.name,
            )  # …and the old ones end
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="Retrying may help"):
                await tenant.emitter.emit(fact(tenant))
            assert time.monotonic() - started < 12
            late = asyncio.create_task(tenant.emitter.emit(fact(tenant)))
            await asyncio.sleep(0.2)
            address.update(reachable)
            assert (await late).position >= 2
            await connection.close()
    finally:
        shutil.rmtree(own, ignore_errors=True)


@pytest.mark.parametrize("seconds", [0.3, 0.7])
async def test_after_kill_9_every_event_reported_as_acknowledged_is_there(
    tenant: Tenant, home: Path, seconds: float
) -> None:
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(home), tenant.tenant_id], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    first = await asyncio.to_thread(child.stdout.readline)
    await asyncio.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    rest = await asyncio.to_thread(child.stdout.read)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()

    said = [line.split() for line in (first + rest).decode().splitlines() if line.count(" ") == 1]
    events = {event.position: event for event in await everything(tenant)}
    assert len(said) > 100
    assert_gapless(list(events.values()))
    for event_id, position in said:
        if len(event_id) == 36:
            assert str(events[int(position)].event_id) == event_id


async def test_a_writer_connection_that_was_ended_while_idle_is_noticed(
    ledger: Ledger, tenant: Tenant
) -> None:
    await tenant.emitter.emit(fact(tenant))
    assert await terminate_writers(ledger, tenant) >= 1
    assert (await tenant.emitter.emit(fact(tenant))).position == 2
