"""Subscriptions: every event in order and once, those that are there and those that come."""

import asyncio
import random
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import LedgerClosed, StoreError
from ledger.store import head_watcher
from ledger.store.append import append_arguments, encode_group
from ledger.store.reader import Reader
from ledger.store.subscription import Subscription
from ledger.store.tenant_database import Role
from tests.support.waiting import eventually

APPEND = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each query of a reader brought."""
    counts: list[int] = []
    original = Reader.fetch

    async def fetch(self: Reader, statement: str, *arguments: Any, doing: str = "reading") -> list[Any]:
        rows = await original(self, statement, *arguments, doing=doing)
        counts.append(len(rows))
        return rows

    monkeypatch.setattr(Reader, "fetch", fetch)
    return counts


def fact(tenant: Tenant, run_id: str = "run", kind: str = "run.cancelled") -> Event:
    return Event(event_type=kind, tenant_id=tenant.tenant_id, run_id=run_id)


async def emit(tenant: Tenant, count: int = 1, run_id: str = "run") -> list[RecordedEvent]:
    return await tenant.emitter.emit_many([fact(tenant, run_id) for _ in range(count)])


async def take(events: Subscription, count: int, seconds: float = 20) -> list[RecordedEvent]:
    async with asyncio.timeout(seconds):
        return [await anext(events) for _ in range(count)]


# In order and once


async def test_what_is_there_comes_first_and_then_what_is_appended(tenant: Tenant) -> None:
    before = await emit(tenant, 7)
    events = tenant.store.subscribe(after=2, batch=3)
    assert await take(events, 5) == before[2:]
    after = await emit(tenant, 4)
    assert await take(events, 4) == after
    assert events.position == 11


async def test_a_subscription_before_the_first_event_waits_for_it(tenant: Tenant) -> None:
    waiting = asyncio.create_task(take(tenant.store.subscribe(), 1))
    await asyncio.sleep(0.05)
    assert await emit(tenant) == await waiting


async def test_a_subscription_beyond_the_head_begins_after_its_position(tenant: Tenant) -> None:
    events = tenant.store.subscribe(after=3)
    waiting = asyncio.create_task(take(events, 1))
    recorded = await emit(tenant, 5)
    assert await waiting == recorded[3:4]


async def test_what_64_writers_append_with_rollbacks_arrives_without_gap_or_reordering(
    tenant: Tenant,
) -> None:
    """Separate connections, as separate processes have; one transaction in twenty is rolled back."""
    committed: dict[int, list[UUID]] = {}
    rolled_back: set[UUID] = set()
    chance = random.Random(20261124)

    async def write(number: int) -> None:
        writer = await tenant.database.connect(Role.WRITER)
        for turn in range(16):
            batch = [fact(tenant, f"run-{number % 7}") for _ in range(1 + turn % 3)]
            transaction = writer.transaction()
            await transaction.start()
            answer = await writer.fetchrow(APPEND, *append_arguments([encode_group(batch)]))
            ids = [event.event_id for event in batch]
            if chance.random() < 0.05:
                await transaction.rollback()
                rolled_back.update(ids)
            else:
                await transaction.commit()
                committed[answer["positions"][0]] = ids
        await writer.close()

    seen: list[RecordedEvent] = []

    async def tail() -> None:
        async for event in tenant.store.subscribe(batch=40):
            seen.append(event)

    async with asyncio.timeout(100):
        tailing = asyncio.create_task(tail())
        await asyncio.gather(*(write(number) for number in range(64)))
        expected = [event_id for position in sorted(committed) for event_id in committed[position]]
        await eventually(lambda: len(seen) >= len(expected))
        await asyncio.sleep(0.2)
        tailing.cancel()

    assert rolled_back
    assert [event.position for event in seen] == list(range(1, len(expected) + 1))
    assert [event.event_id for event in seen] == expected
    for run in {event.run_id for event in seen}:
        versions = [event.version for event in seen if event.run_id == run]
        assert versions == list(range(1, len(versions) + 1))


async def test_what_another_connection_has_not_committed_is_not_seen(tenant: Tenant) -> None:
    events = tenant.store.subscribe()
    writer = await tenant.database.connect(Role.WRITER)
    transaction = writer.transaction()
    await transaction.start()
    await writer.fetchrow(APPEND, *append_arguments([encode_group([fact(tenant)])]))
    with pytest.raises(TimeoutError):
        await take(events, 1, seconds=0.4)
    await transaction.commit()
    await writer.close()
    assert [event.position for event in await take(events, 1)] == [1]


# Filters


async def test_a_filter_leaves_a_run_and_types_and_the_position_passes_all_others(tenant: Tenant) -> None:
    for number in range(30):
        kind = "run.succeeded" if number % 10 == 0 else "run.cancelled"
        await tenant.emitter.emit(fact(tenant, f"run-{number % 3}", kind))
    everything = await tenant.store.read()

    async def picked(batch: int, **filters: Any) -> list[int]:
        events = tenant.store.subscribe(upto=30, batch=batch, **filters)
        found = [event.position async for event in events]
        assert events.position == 30
        return found

    for batch in (1, 4, 500):  # far behind the database picks, near the head the subscription does
        for run_id in (None, "run-0", "run-1", "nobody"):
            for types in (None, ["run.succeeded"], ["run.succeeded", "run.cancelled"], ["step.lost"], []):
                expected = [
                    event.position
                    for event in everything
                    if run_id in {None, event.run_id} and (types is None or event.event_type in types)
                ]
                assert await picked(batch, run_id=run_id, types=types) == expected
                last = await tenant.store.read_last(3, upto=30, run_id=run_id, types=types)
                assert [event.position for event in last] == expected[-3:]


async def test_a_filtered_subscription_goes_on_live(tenant: Tenant) -> None:
    await emit(tenant, 20, "other")
    events = tenant.store.subscribe(run_id="mine", batch=5)
    waiting = asyncio.create_task(take(events, 2))
    for run_id in ("other", "mine", "other", "mine"):
        await emit(tenant, 1, run_id)
    assert [event.position for event in await waiting] == [22, 24]


# Bounded


async def test_a_slow_consumer_holds_one_page_however_much_is_appended(
    tenant: Tenant, fetched: list[int]
) -> None:
    events = tenant.store.subscribe(batch=10)
    await emit(tenant, 3)
    await take(events, 1)
    fetched.clear()
    for _ in range(20):
        await emit(tenant, 100)
        await asyncio.sleep(0)
    assert sum(fetched) == 0  # nothing is read for somebody who does not ask
    assert [event.position for event in await take(events, 12)] == list(range(2, 14))
    assert max(fetched) <= 10
    assert sum(fetched) <= 21  # two pages, and the head


async def test_500_idle_subscribers_cost_one_small_query_per_poll(tenant: Tenant, fetched: list[int]) -> None:
    await emit(tenant)
    waiting = [asyncio.create_task(take(tenant.store.subscribe(after=1), 1, 60)) for _ in range(500)]
    await asyncio.sleep(0.5)
    fetched.clear()
    await asyncio.sleep(2)
    # 20 polls of a tenth of a second, or 2 of a second once the listener is up.
    assert 1 <= len(fetched) <= 30
    assert set(fetched) == {1}

    fetched.clear()
    [recorded] = await emit(tenant)
    assert await asyncio.gather(*waiting) == [[recorded]] * 500
    assert len(fetched) <= 10  # one page for all, and a poll or two meanwhile


async def test_nobody_asks_for_the_head_while_nobody_waits(tenant: Tenant, fetched: list[int]) -> None:
    with pytest.raises(TimeoutError):
        await take(tenant.store.subscribe(), 1, seconds=0.3)
    await asyncio.sleep(head_watcher.POLL_SECONDS_WHILE_HEARING + 0.2)
    fetched.clear()
    await asyncio.sleep(1.5)
    assert fetched == []


# Ends


async def test_a_consumer_that_gave_up_waiting_goes_on_where_it_was(tenant: Tenant) -> None:
    events = tenant.store.subscribe()
    for position in range(1, 6):
        with pytest.raises(TimeoutError):
            await take(events, 1, seconds=0.02)
        await emit(tenant)
        assert [event.position for event in await take(events, 1)] == [position]


async def test_closing_a_subscription_ends_its_consumer_who_waits(tenant: Tenant) -> None:
    events = tenant.store.subscribe()
    seen: list[int] = []

    async def follow() -> None:
        async for event in events:
            seen.append(event.position)

    following = asyncio.create_task(follow())
    await emit(tenant, 2)
    await eventually(lambda: len(seen) == 2)
    await events.aclose()
    await events.aclose()
    async with asyncio.timeout(5):
        await following
    await emit(tenant)
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    assert events.position == 2


async def test_leaving_the_loop_early_reads_no_further(tenant: Tenant) -> None:
    await emit(tenant, 5)
    async with aclosing(tenant.store.subscribe()) as events:
        async for event in events:
            if event.position == 3:
                break
    assert events.position == 3
    assert [event.position for event in await take(tenant.store.subscribe(after=events.position), 2)] == [
        4,
        5,
    ]


async def test_one_that_leaves_does_not_disturb_those_who_share_its_page(tenant: Tenant) -> None:
    await emit(tenant, 50)
    subscribers = [asyncio.create_task(take(tenant.store.subscribe(), 50)) for _ in range(20)]
    for _ in range(4):
        await asyncio.sleep(0)
    for leaver in subscribers[:10]:
        leaver.cancel()
    stayed = await asyncio.gather(*subscribers[10:])
    assert all(len(events) == 50 for events in stayed)


async def test_two_consumers_of_one_subscription_are_refused(tenant: Tenant) -> None:
    events = tenant.store.subscribe()
    first = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0.02)
    with pytest.raises(RuntimeError, match="one consumer"):
        await anext(events)
    await emit(tenant)
    assert len(await first) == 1


async def test_closing_the_ledger_tells_subscribers(settings: Settings, tenant: Tenant) -> None:
    other = await Ledger.open(settings)
    events = (await other.tenant(tenant.tenant_id)).store.subscribe()
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0.1)
    await other.close()
    with pytest.raises(LedgerClosed):
        await waiting
    with pytest.raises(LedgerClosed):
        await anext(events)


async def test_a_log_that_lost_events_is_an_error_and_not_a_gap(ledger: Ledger, tenant: Tenant) -> None:
    await emit(tenant, 3)
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
    await connection.execute("DELETE FROM ledger.events WHERE position = 2")
    await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
    await connection.close()
    with pytest.raises(StoreError, match="every position from 1 to 3"):
        await take(tenant.store.subscribe(), 1)


# Reconnecting


async def test_readers_terminated_again_and_again_cost_no_event_and_repeat_none(
    ledger: Ledger, tenant: Tenant
) -> None:
    seen: list[int] = []
    killed = 0

    async def tail() -> None:
        async for event in tenant.store.subscribe(batch=7):
            seen.append(event.position)

    async def kill(connection: asyncpg.Connection) -> None:
        nonlocal killed
        while True:
            killed += await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = $1 AND pid <> pg_backend_pid()",
                tenant.database.name,
            )
            await asyncio.sleep(random.uniform(0.01, 0.1))

    superuser = await ledger.server.connect()
    tasks = [asyncio.create_task(tail()), asyncio.create_task(kill(superuser))]
    ids = [uuid4() for _ in range(200)]
    for event_id in ids:
        await tenant.emitter.emit(fact(tenant).model_copy(update={"event_id": event_id}))
    await eventually(lambda: len(seen) >= 200)
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await superuser.close()

    assert killed > 5
    assert seen == list(range(1, 201))
