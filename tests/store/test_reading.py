"""Reading: everything after a position, a run up to one, and what comes next."""

import asyncio

import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import LedgerClosed


async def emit(tenant: Tenant, run_id: str = "run", count: int = 1) -> list[RecordedEvent]:
    def event() -> Event:
        return Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id=run_id)

    return await tenant.emitter.emit_many([event() for _ in range(count)])


async def test_read_gives_what_is_after_a_position_up_to_a_limit(tenant: Tenant) -> None:
    recorded = await emit(tenant, count=7)
    assert await tenant.store.read() == recorded
    assert await tenant.store.read(3) == recorded[3:]
    assert await tenant.store.read(3, 2) == recorded[3:5]
    assert await tenant.store.read(7) == []
    assert await tenant.store.read(2**62) == []
    assert await tenant.store.read(0, 0) == []


async def test_a_run_is_read_up_to_a_position(tenant: Tenant) -> None:
    for run_id in "abab":
        await emit(tenant, run_id)
    assert [(event.position, event.version) for event in await tenant.store.read_run("a")] == [(1, 1), (3, 2)]
    assert [event.position for event in await tenant.store.read_run("a", 2)] == [1]
    assert [event.position for event in await tenant.store.read_run("a", 3)] == [1, 3]
    assert [event.position for event in await tenant.store.read_run("b", 1)] == []
    assert await tenant.store.read_run("nobody") == []
    assert [event.version for event in await tenant.store.read_run("a", after_version=1)] == [2]


async def test_a_subscription_catches_up_and_then_follows(tenant: Tenant) -> None:
    await emit(tenant, count=12)
    seen: list[int] = []

    async def follow() -> None:
        async for event in tenant.store.subscribe(after=2, batch=3):
            seen.append(event.position)
            if event.position == 20:
                return

    following = asyncio.create_task(follow())
    while len(seen) < 10:
        await asyncio.sleep(0.01)
    for _ in range(4):
        await emit(tenant, count=2)
    await asyncio.wait_for(following, 10)
    assert seen == list(range(3, 21))


async def test_a_subscription_sees_what_another_process_emits(
    ledger: Ledger, tenant: Tenant, settings: Settings
) -> None:
    stream = tenant.store.subscribe()
    nothing_yet = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    async with await Ledger.open(settings) as elsewhere:  # shares no memory of wake-ups
        await emit(await elsewhere.tenant(tenant.tenant_id))
    assert (await asyncio.wait_for(nothing_yet, 10)).position == 1
    await stream.aclose()


async def test_readers_never_see_a_gap_while_many_write(tenant: Tenant) -> None:
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            positions = [event.position for event in await tenant.store.read(0, 10_000)]
            assert positions == list(range(1, len(positions) + 1))

    watchers = [asyncio.create_task(watch()) for _ in range(2)]
    await asyncio.gather(*(emit(tenant, f"run-{n % 5}") for n in range(300)))
    done.set()
    await asyncio.gather(*watchers)
    assert await tenant.store.head() == 300


async def test_reading_after_close_says_so(settings: Settings) -> None:
    ledger = await Ledger.open(settings)
    await ledger.tenants.create_tenant_db("closed-reading", "Closed")
    tenant = await ledger.tenant("closed-reading")
    await ledger.close()
    with pytest.raises(LedgerClosed, match="Retrying will not help"):
        await tenant.store.read()
    with pytest.raises(LedgerClosed):
        await ledger.tenant("closed-reading")


async def test_closing_right_after_an_append_never_waits_for_ever(settings: Settings) -> None:
    """A cancellation that met the append's notification was once swallowed by asyncio.wait_for."""
    for turns in range(25):
        async with asyncio.timeout(20), await Ledger.open(settings) as ledger:
            await ledger.tenants.create_tenant_db("closing", "Closing")
            tenant = await ledger.tenant("closing")
            await asyncio.sleep(0.02)  # the projector waits by now
            await emit(tenant)
            for _ in range(turns % 5):
                await asyncio.sleep(0)
