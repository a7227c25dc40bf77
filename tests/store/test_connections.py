"""One limit of connections per server, whoever wants them: leases, sessions, threads."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import text

from ledger import Event, Ledger, Settings, Tenant
from ledger.errors import ConnectionLimitReached
from ledger.store.connections import Connections
from ledger.store.tenant_database import Role

LIMIT = 5


@pytest.fixture
async def small(settings: Settings) -> AsyncIterator[Ledger]:
    update = {"server_connections_max": LIMIT, "connection_wait_seconds": 0.5, "projection": "external"}
    async with await Ledger.open(settings.model_copy(update=update)) as opened:
        yield opened


OURS = f"c-{uuid4().hex[:12]}"


@pytest.fixture
async def tenants(ledger: Ledger, small: Ledger) -> list[Tenant]:
    """Eight of them, made once for this file: what they hold does not matter here."""
    names = [f"{OURS}-{n}" for n in range(8)]
    for name in names:
        await ledger.tenants.create_tenant_db(name, "Of these tests")
    return [await small.tenant(name) for name in names]


def connections(ledger: Ledger) -> Connections:
    return ledger.server.connections


def cancelled(tenant: Tenant, run_id: str) -> Event:
    return Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id=run_id)


async def backends(ledger: Ledger, tenants: list[Tenant]) -> int:
    superuser = await ledger.server.connect()
    try:
        found: int = await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = ANY ($1::text[]) AND backend_type = 'client backend'",
            [tenant.database.name for tenant in tenants],
        )
        return found
    finally:
        await superuser.close()


async def test_more_tenants_than_connections_all_work(
    ledger: Ledger, small: Ledger, tenants: list[Tenant]
) -> None:
    before = await asyncio.gather(*(tenant.store.head() for tenant in tenants))
    for round_ in range(3):
        emits = [
            tenant.emitter.emit(cancelled(tenant, f"r{round_}-{n}")) for tenant in tenants for n in range(3)
        ]
        recorded = await asyncio.gather(*emits)
        assert len(recorded) == len(tenants) * 3
        heads = await asyncio.gather(*(tenant.store.head() for tenant in tenants))
        assert heads == [head + 3 * (round_ + 1) for head in before]
        assert connections(small).open_count <= LIMIT
    await ledger.server.connections.close_idle()
    async with asyncio.timeout(20):  # a busy server notices later that its clients have gone
        while await backends(ledger, tenants) > LIMIT:
            await asyncio.sleep(0.05)


async def test_the_connection_that_was_idle_longest_makes_room(small: Ledger, tenants: list[Tenant]) -> None:
    await connections(small).close_idle()
    for tenant in tenants[:LIMIT]:
        await tenant.store.head()
    first, second = tenants[0], tenants[1]
    before = await pid(first)  # used once more, so the second's is the oldest now
    await tenants[LIMIT].store.head()
    assert await pid(first) == before
    assert connections(small).open_count == LIMIT
    async with second.database.lease(Role.READER):
        assert connections(small).open_count <= LIMIT


async def pid(tenant: Tenant) -> int:
    async with tenant.database.lease(Role.READER) as connection:
        found: int = connection.get_server_pid()
        return found


async def test_at_the_limit_one_waits_and_is_told_that_retrying_may_help(
    small: Ledger, tenants: list[Tenant]
) -> None:
    async def hold(tenant: Tenant, let_go: asyncio.Event) -> None:
        async with tenant.database.lease(Role.READER):
            await let_go.wait()

    let_go = asyncio.Event()
    holding = [asyncio.create_task(hold(tenant, let_go)) for tenant in tenants[:LIMIT]]
    await asyncio.sleep(0.3)
    with pytest.raises(ConnectionLimitReached, match=r"one of 5 within 0\.5 s.*Retrying may help") as refusal:
        await tenants[LIMIT].store.head()
    assert refusal.value.retryable
    assert "DAICHO_SERVER_CONNECTIONS_MAX" in str(refusal.value)

    waiting = asyncio.create_task(tenants[LIMIT].store.head())
    given_up = asyncio.create_task(tenants[LIMIT + 1].store.head())
    await asyncio.sleep(0.1)
    given_up.cancel()
    let_go.set()
    assert await waiting >= 0
    await asyncio.gather(*holding)
    assert connections(small).open_count <= LIMIT


async def test_whoever_holds_a_session_still_gets_to_emit(small: Ledger, tenants: list[Tenant]) -> None:
    """As many sessions as may be held, and each of their holders needs a second connection to emit."""

    async def read_and_emit(tenant: Tenant) -> int:
        async with await small.tenants.get_connection(tenant.tenant_id) as session:
            await session.execute(text("SELECT 1"))
            return (await tenant.emitter.emit(cancelled(tenant, "r"))).position

    patient = tenants * 2
    small.server.connections.wait_seconds = 20
    async with asyncio.timeout(60):
        assert len(await asyncio.gather(*map(read_and_emit, patient))) == len(patient)
    assert connections(small).open_count <= LIMIT


async def test_sessions_are_held_up_to_four_fifths_of_the_limit(small: Ledger, tenants: list[Tenant]) -> None:
    opened = []
    for tenant in tenants[: LIMIT - 1]:
        session = await small.tenants.get_connection(tenant.tenant_id)
        await session.execute(text("SELECT 1"))
        opened.append(session)
    one_more = await small.tenants.get_connection(tenants[LIMIT].tenant_id)
    with pytest.raises(ConnectionLimitReached, match="to hold"):
        await one_more.execute(text("SELECT 1"))
    await tenants[LIMIT].store.head()
    for session in [*opened, one_more]:
        await session.close()
    again = await small.tenants.get_connection(tenants[0].tenant_id)
    async with again:
        await again.execute(text("SELECT 1"))


async def test_a_session_leaves_nothing_behind_for_the_next(small: Ledger, tenants: list[Tenant]) -> None:
    ways = []
    for _ in range(2):
        async with await small.tenants.get_connection(tenants[0].tenant_id) as session:
            ways.append((await session.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            assert (await session.execute(text("SHOW work_mem"))).scalar_one() != "99MB"
            await session.execute(text("SET work_mem = '99MB'"))
            await session.commit()
    assert ways[0] == ways[1]  # the same connection, and its settings are its own again


async def test_an_application_in_another_thread_shares_the_limit(
    small: Ledger, tenants: list[Tenant]
) -> None:
    from eventsourcing.application import Application

    for tenant in tenants:
        await tenant.store.head()
    assert connections(small).idle_count == LIMIT

    def work() -> None:
        for tenant in tenants[:3]:
            application: Application = Application(env=tenant.application_env())
            application.recorder.max_notification_id()
            application.close()

    await asyncio.to_thread(work)
    assert connections(small).open_count <= LIMIT
    await tenants[0].store.head()


async def test_a_connection_that_was_ended_counts_no_longer(
    ledger: Ledger, small: Ledger, tenants: list[Tenant]
) -> None:
    for tenant in tenants[:LIMIT]:
        await tenant.store.head()
    superuser = await ledger.server.connect()
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY ($1::text[])",
        [tenant.database.name for tenant in tenants],
    )
    await superuser.close()
    async with asyncio.timeout(10):
        while connections(small).open_count:
            await asyncio.sleep(0.02)
    await tenants[0].store.head()


def test_the_more_tenants_share_a_connection_the_rarer_each_asks() -> None:
    shared = Connections(limit=30)
    for number in range(10):
        shared.join(f"t{number}")
    assert shared.crowding == 1
    for number in range(10, 300):
        shared.join(f"t{number}")
    assert shared.crowding == 30
    for number in range(300):
        shared.leave(f"t{number}")
    assert shared.crowding == 1
