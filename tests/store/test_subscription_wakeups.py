"""Wake-ups across processes: an append elsewhere is seen at once, and all the same where no wake-up comes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import orjson
import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.control import wakeups
from ledger.control.wakeups import CHANNEL, Wakeups
from ledger.store import head_watcher
from ledger.store.event_store import EventStore
from ledger.store.server import Connection, DatabaseServer
from ledger.store.subscription import Subscription
from ledger.store.wakeup import Silence
from projections import progress
from tests.support.command_line import DAICHO
from tests.support.waiting import eventually

NEVER = 300.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives was announced."""
    monkeypatch.setattr(head_watcher, "POLL_SECONDS", NEVER)
    monkeypatch.setattr(head_watcher, "POLL_SECONDS_WHILE_HEARING", NEVER)
    monkeypatch.setattr(progress, "POLL_SECONDS", NEVER)


@pytest.fixture
async def elsewhere(settings: Settings, tenant: Tenant) -> AsyncIterator[Tenant]:
    """The same tenant through another ledger, which shares nothing with the first but the server."""
    async with await Ledger.open(settings) as ledger:
        yield await ledger.tenant(tenant.tenant_id)


def fact(tenant: Tenant) -> Event:
    return Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id="run")


async def take(events: Subscription, count: int, seconds: float = 20) -> list[RecordedEvent]:
    async with asyncio.timeout(seconds):
        return [await anext(events) for _ in range(count)]


async def hearing(tenant: Tenant) -> None:
    """Waits until the tenant's listener is up, which somebody's waiting has started."""
    await eventually(lambda: tenant.store.announcer.is_heard)


@asynccontextmanager
async def opened(server: DatabaseServer) -> AsyncIterator[Wakeups]:
    opened = Wakeups(server)
    try:
        yield opened
    finally:
        await opened.close()


# Arriving


async def test_an_append_of_another_process_wakes_a_subscriber_before_any_poll(
    home: Path, tenant: Tenant, no_polling: None
) -> None:
    waiting = asyncio.create_task(take(tenant.store.subscribe(), 1, seconds=60))
    await hearing(tenant)
    process = await asyncio.create_subprocess_exec(
        *DAICHO, "emit", "-t", tenant.tenant_id,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "DAICHO_HOME": str(home), "DAICHO_PROJECTION": "external"},
    )  # fmt: skip
    line = orjson.dumps({"event_type": "run.cancelled", "run_id": "run"})
    talking = asyncio.create_task(process.communicate(line))

    [event] = await waiting
    took = datetime.now(UTC) - event.recorded_at
    printed, _ = await talking

    assert orjson.loads(printed)["event_id"] == str(event.event_id)
    assert took.total_seconds() < 2


async def test_the_last_append_of_many_is_always_announced(
    tenant: Tenant, elsewhere: Tenant, no_polling: None
) -> None:
    """More than the announcements that are allowed, and then silence."""
    events = tenant.store.subscribe()
    waiting = asyncio.create_task(take(events, 301, seconds=60))
    await hearing(tenant)
    for _ in range(300):
        await elsewhere.emitter.emit(fact(tenant))
    await asyncio.sleep(0.07)
    await elsewhere.emitter.emit(fact(tenant))
    assert [event.position for event in await waiting] == list(range(1, 302))


async def test_a_process_that_ends_at_once_has_announced_its_last_append(
    settings: Settings, tenant: Tenant, no_polling: None
) -> None:
    waiting = asyncio.create_task(take(tenant.store.subscribe(), 2))
    await hearing(tenant)
    async with await Ledger.open(settings) as other:
        emitter = (await other.tenant(tenant.tenant_id)).emitter
        await emitter.emit(fact(tenant))
        await emitter.emit(fact(tenant))
    assert len(await waiting) == 2


async def test_who_waits_for_the_tables_hears_of_a_projector_elsewhere(
    settings: Settings, tenant: Tenant, no_polling: None
) -> None:
    """The append wakes the projector there, and its commit whoever waits here."""
    live = settings.model_copy(update={"projection": "background"})
    async with await Ledger.open(live) as other:
        projecting = await other.tenant(tenant.tenant_id)
        await hearing(projecting)
        [first] = await tenant.emitter.emit_many([fact(tenant)])
        waiting = asyncio.create_task(tenant.wait_projected(first.position))
        await hearing(tenant)  # which looks once more
        await waiting
        for _ in range(5):
            recorded = await tenant.emitter.emit(fact(tenant))
            await tenant.wait_projected(recorded.position, timeout_seconds=10)


# Not arriving


class Watched(DatabaseServer):
    """Remembers the backends of its connections."""

    async def connect(self, database: str | None = None, **options: Any) -> Connection:
        connection = await super().connect(database, **options)
        self.__dict__.setdefault("pids", []).append(connection.get_server_pid())
        return connection


def watched(server: DatabaseServer) -> Watched:
    return Watched(server.name, server.database, server.address, server.connect_timeout_seconds)


async def test_a_listener_whose_connection_was_killed_comes_back(ledger: Ledger, tenant: Tenant) -> None:
    server = watched(ledger.server)
    superuser = await ledger.server.connect()
    async with opened(server) as hearer, opened(ledger.server) as announcer:
        heard = asyncio.Event()
        hearer.hear("topic", heard.set)
        await eventually(lambda: hearer.is_heard)
        for _ in range(3):
            for pid in server.__dict__["pids"]:
                await superuser.execute("SELECT pg_terminate_backend($1)", pid)
            await eventually(lambda: not hearer.is_heard)
            assert heard.is_set()  # what was announced meanwhile is lost: everybody looks
            await eventually(lambda: hearer.is_heard)
            heard.clear()
            announcer.announce("topic")
            async with asyncio.timeout(5):
                await heard.wait()
    await superuser.close()


async def test_events_arrive_while_the_listener_is_dead(
    tenant: Tenant, elsewhere: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_watcher, "POLL_SECONDS_WHILE_HEARING", NEVER)
    events = tenant.store.subscribe()
    waiting = asyncio.create_task(take(events, 1))
    await hearing(tenant)

    async def refused(*_arguments: object) -> None:
        raise OSError("no more listeners")

    monkeypatch.setattr(asyncpg.Connection, "add_listener", refused)
    superuser = await tenant.database.server.connect()
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database() AND query LIKE 'LISTEN%'"
    )
    await superuser.close()
    await eventually(lambda: not tenant.store.announcer.is_heard)
    await elsewhere.emitter.emit(fact(tenant))
    assert len(await waiting) == 1


async def test_behind_a_pooler_that_swallows_notifications_subscribers_poll_quickly(
    tenant: Tenant, elsewhere: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listens_on_a_connection_that_is_not_its_own(*_arguments: object) -> None:
        pass

    monkeypatch.setattr(asyncpg.Connection, "add_listener", listens_on_a_connection_that_is_not_its_own)
    monkeypatch.setattr(wakeups, "PROBE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(head_watcher, "POLL_SECONDS_WHILE_HEARING", NEVER)
    waiting = asyncio.create_task(take(tenant.store.subscribe(), 3, seconds=30))
    for _ in range(3):
        await asyncio.sleep(0.3)
        assert not tenant.store.announcer.is_heard
        await elsewhere.emitter.emit(fact(tenant))
    assert len(await waiting) == 3


async def test_announcing_that_cannot_be_done_delays_no_append_and_no_end(tenant: Tenant) -> None:
    nowhere = DatabaseServer("nowhere", "nothing", {"host": "/nonexistent", "user": "nobody"})
    async with opened(nowhere) as announcer:
        store = EventStore(tenant.database, tenant.reader, announcer=announcer)
        began = monotonic()
        for _ in range(20):
            await store.append([fact(tenant)])
        assert monotonic() - began < 5
        await store.close()
        began = monotonic()
    assert monotonic() - began < 3
    assert await tenant.store.head() == 20


async def test_an_announcement_that_hangs_delays_no_append_and_no_end(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_arguments: object, **_options: object) -> Connection:
        await asyncio.sleep(NEVER)
        raise AssertionError

    server = watched(ledger.server)
    monkeypatch.setattr(Watched, "connect", hang)
    async with opened(server) as announcer:
        store = EventStore(tenant.database, tenant.reader, announcer=announcer)
        for _ in range(3):
            async with asyncio.timeout(5):
                await store.append([fact(tenant)])
        await store.close()
        began = monotonic()
    assert monotonic() - began < 3


# Bounded


async def test_a_topic_is_announced_at_most_20_times_a_second_and_other_topics_do_not_wait(
    ledger: Ledger, tenant: Tenant
) -> None:
    listener = await ledger.server.connect()
    came: list[str] = []
    await listener.add_listener(
        CHANNEL, lambda _connection, _pid, _channel, payload: came.append(str(payload))
    )
    busy, other = f"busy-{tenant.tenant_id}", f"other-{tenant.tenant_id}"
    async with opened(ledger.server) as announcer:
        began = monotonic()
        while monotonic() - began < 1:
            announcer.announce(busy)
            await asyncio.sleep(0.001)
        took = monotonic() - began
        announcer.announce(other)
        await eventually(lambda: other in came)
        await asyncio.sleep(0.2)
    assert 2 <= came.count(busy) <= 20 * took + 3
    assert came.count(other) == 1
    await listener.close()


async def test_who_shares_a_topic_announces_it_that_much_more_rarely_and_the_last_time_still(
    ledger: Ledger, tenant: Tenant
) -> None:
    listener = await ledger.server.connect()
    came: dict[str, list[float]] = {}
    await listener.add_listener(
        CHANNEL,
        lambda _connection, _pid, _channel, topic: came.setdefault(str(topic), []).append(monotonic()),
    )
    shared, crowded = f"shared-{tenant.tenant_id}", f"crowded-{tenant.tenant_id}"
    async with opened(ledger.server) as announcer:
        began = monotonic()
        while monotonic() - began < 1.5:
            announcer.announce(shared, 4.0)
            announcer.announce(crowded, 1_000.0)
            await asyncio.sleep(0.001)
        last = monotonic()
        await eventually(lambda: came[shared][-1] > last and came[crowded][-1] > last)
    assert 2 <= len(came[shared]) <= 5 * (last - began) + 3
    assert 2 <= len(came[crowded]) <= 2 * (last - began) + 3
    await listener.close()


class Told(Silence):
    """By how many a topic is announced, each time."""

    def __init__(self) -> None:
        self.announcers: list[float] = []

    def announce(self, topic: str, announcers: float = 1.0) -> None:
        self.announcers.append(announcers)


async def test_by_how_many_is_told_by_the_positions_of_the_others(tenant: Tenant, elsewhere: Tenant) -> None:
    told = Told()
    store = EventStore(tenant.database, tenant.reader, announcer=told)
    for _ in range(3):
        await store.append([fact(tenant), fact(tenant)])
    assert told.announcers == [1.0, 1.0, 1.0]
    for _ in range(3):
        await elsewhere.store.append([fact(tenant)])
    await elsewhere.store.append([fact(tenant), fact(tenant), fact(tenant)])
    await store.append([fact(tenant), fact(tenant)])
    assert told.announcers[3:] == [4.0]
    await store.append([fact(tenant)])
    assert told.announcers[4:] == [1.0]
    await store.close()


async def test_a_ledger_that_waits_for_nothing_does_not_listen(ledger: Ledger, tenant: Tenant) -> None:
    server = watched(ledger.server)
    async with opened(server) as announcer:
        store = EventStore(tenant.database, tenant.reader, announcer=announcer)
        await store.read()
        await store.close()
    assert "pids" not in server.__dict__
