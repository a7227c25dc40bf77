"""PostgreSQL has no connection left: a typed error at the deadline, or success when one comes free."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from ledger import Ledger, Settings
from ledger.errors import StoreUnavailable
from tests.faults.own_server import OwnServer, own_server
from tests.support.events import assert_gapless, eventually_emitted, everything, fact


@pytest.fixture
def server(folder: Path) -> Iterator[OwnServer]:
    with own_server(folder / "home", {"max_connections": "20"}) as started:
        yield started


@asynccontextmanager
async def all_taken(ledger: Ledger) -> AsyncIterator[list[asyncpg.Connection]]:
    taken: list[asyncpg.Connection] = []
    try:
        await ledger.server.connections.close_idle()
        for _ in range(2):  # the server may have been counting some that were just given up
            with suppress(StoreUnavailable):
                while True:
                    taken.append(await ledger.server.connect())
            await asyncio.sleep(0.1)
        assert 0 < len(taken) < 20
        yield taken
    finally:
        for connection in taken:
            connection.terminate()


@pytest.fixture
async def opened(server: OwnServer) -> AsyncIterator[Ledger]:
    settings = Settings(home=server.home, projection="external", emit_deadline_seconds=2)
    async with await Ledger.open(settings) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        yield ledger


async def let_go(taken: list[asyncpg.Connection], after_seconds: float) -> None:
    await asyncio.sleep(after_seconds)
    for connection in taken:
        connection.terminate()


async def test_without_a_connection_an_emit_fails_at_its_deadline_and_works_when_there_is_one(
    opened: Ledger,
) -> None:
    tenant = await opened.tenant("acme")
    event = fact(tenant)
    async with all_taken(opened):
        with pytest.raises(StoreUnavailable, match=r"too many clients.*Retrying may help"):
            await tenant.emitter.emit(event)
        with pytest.raises(StoreUnavailable, match=r"too many clients.*Retrying may help"):
            await tenant.store.head()
    recorded = await eventually_emitted(tenant, event)
    assert recorded == 1
    assert [stored.event_id for stored in await everything(tenant)] == [event.event_id]


async def test_a_connection_that_comes_free_within_the_deadline_is_all_it_takes(
    server: OwnServer, opened: Ledger
) -> None:
    patient = Settings(home=server.home, projection="external", emit_deadline_seconds=60)
    async with await Ledger.open(patient) as ledger:
        tenant = await ledger.tenant("acme")
        async with all_taken(ledger) as taken:
            freeing = asyncio.create_task(let_go(taken, 0.5))
            acknowledged = await asyncio.gather(*(tenant.emitter.emit(fact(tenant, n=n)) for n in range(20)))
            await freeing
        assert tenant.emitter.figures().retries >= 1
        stored = await everything(tenant)
        assert_gapless(stored)
        assert sorted(acknowledged) == stored


async def test_a_subscriber_without_a_connection_waits_for_one(server: OwnServer, opened: Ledger) -> None:
    tenant = await opened.tenant("acme")
    recorded = await tenant.emitter.emit(fact(tenant))
    async with await Ledger.open(Settings(home=server.home, projection="external")) as ledger:
        events = (await ledger.tenant("acme")).store.subscribe()
        async with all_taken(ledger) as taken:
            first = asyncio.create_task(anext(events))
            await asyncio.sleep(0.3)
            assert not first.done()
            await let_go(taken, 0)
            assert await asyncio.wait_for(first, 60) == recorded
