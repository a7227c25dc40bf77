"""Many subscribers of a tenant, on one connection or a few: one reads for all that want the same."""

import asyncio

import pytest

from ledger import Event, RecordedEvent, Settings, Tenant
from ledger.store.subscription import Subscription

SUBSCRIBERS = 300
SESSIONS = """SELECT count(*) FROM pg_stat_activity
               WHERE datname = $1 AND usename LIKE '%\\_reader' AND pid <> pg_backend_pid()"""


@pytest.fixture(params=[1, 4], ids=["one_connection", "four_connections"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    update = {"projection": "external", "reader_connections_max": request.param}
    return settings.model_copy(update=update)


async def emit(tenant: Tenant, count: int) -> None:
    for number in range(count):
        event = Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id=f"run-{number % 3}")
        await tenant.emitter.emit(event)


async def take(events: Subscription, upto: int) -> list[RecordedEvent]:
    seen: list[RecordedEvent] = []
    async for event in events:
        seen.append(event)
        if event.position >= upto:
            break
    return seen


async def test_300_subscribers_of_all_kinds_see_everything_once_over_the_readers_connections(
    settings: Settings, tenant: Tenant
) -> None:
    tenant_connections_max = settings.reader_connections_max
    await emit(tenant, 30)
    wanted: list[dict[str, object]] = [{}, {"run_id": "run-2"}, {"types": ["run.cancelled"]}]
    waiting = [
        asyncio.create_task(take(tenant.store.subscribe(30, **wanted[number % 3]), 90))  # type: ignore[arg-type]
        for number in range(SUBSCRIBERS)
    ]
    superuser = await tenant.database.server.connect()
    sessions: list[int] = []

    async def count() -> None:
        while True:
            sessions.append(await superuser.fetchval(SESSIONS, tenant.database.name))
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    await emit(tenant, 60)
    async with asyncio.timeout(60):
        seen = await asyncio.gather(*waiting)
    counting.cancel()
    await asyncio.wait([counting])
    await superuser.close()

    everything = list(range(31, 91))
    expected = [everything, [position for position in everything if position % 3 == 0], everything]
    for number, events in enumerate(seen):
        assert [event.position for event in events] == expected[number % 3]
    assert 1 <= max(sessions) <= tenant_connections_max, sessions
