"""The connection is cut at a chosen moment of an append. The retry returns the first recording: nothing
is recorded twice, and nothing that was not."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger import Event, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import StoreUnavailable
from ledger.store import reader
from tests.faults.proxy import Moment, Proxy
from tests.support.events import assert_gapless, everything, fact

LONE, NEW, CAREFUL = "append_event_v1", "append_events_v3", "append_events_v1"
CONTENDED = "append_contended_v3"
CUTS = [moment for moment in Moment if moment is not Moment.NEVER]
DEADLINE_SECONDS = 2.0
"""Only where it is meant to be reached."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def through(proxy: Proxy, url: str, folder: Path, deadline_seconds: float) -> Ledger:
    return await Ledger.open(
        Settings(
            home=folder / "home",
            database_url=url,
            blobs="filesystem",
            projection="external",
            emit_deadline_seconds=deadline_seconds,
        )
    )


@pytest.fixture
async def far(
    request: pytest.FixtureRequest, proxy: Proxy, tenant: Tenant, folder: Path
) -> AsyncIterator[Tenant]:
    """The tenant as it is reached through the proxy: over TCP, or over a socket where a test says so."""
    is_socket = getattr(request, "param", "tcp") == "unix socket"
    url = await (proxy.listen_in_folder(folder) if is_socket else proxy.listen_at_port())
    async with await through(proxy, url, folder, 60) as ledger:
        yield await ledger.tenant(tenant.tenant_id)


@pytest.fixture
async def impatient(proxy: Proxy, tenant: Tenant, folder: Path) -> AsyncIterator[Tenant]:
    url = await proxy.listen_at_port()
    async with await through(proxy, url, folder, DEADLINE_SECONDS) as ledger:
        yield await ledger.tenant(tenant.tenant_id)


async def emit_by(statement: str, far: Tenant, run_id: str) -> list[RecordedEvent]:
    """What was acknowledged of an emit that `statement` carries out."""
    if statement in {NEW, CAREFUL}:
        expected = 0 if statement == CAREFUL else None
        return await far.emitter.emit_many([fact(far, run_id), fact(far, "other")], expected_version=expected)
    return [await far.emitter.emit(fact(far, run_id))]


async def emit_before(statement: str, far: Tenant, near: Tenant) -> list[RecordedEvent]:
    """Events after which `far` knows whether somebody else appends too: then it appends otherwise."""
    recorded = [await far.emitter.emit(fact(far)), await far.emitter.emit(fact(far))]
    if statement == CONTENDED:
        recorded += await near.store.append([fact(near, "rival")])
        recorded.append(await far.emitter.emit(fact(far)))
    return recorded


@pytest.mark.parametrize("statement", [LONE, NEW, CAREFUL, CONTENDED])
async def test_whenever_the_connection_is_cut_the_append_is_recorded_once_and_so_answered(
    tenant: Tenant, far: Tenant, proxy: Proxy, statement: str
) -> None:
    acknowledged: list[RecordedEvent] = []
    for times, moment in enumerate(CUTS, 1):
        acknowledged += await emit_before(statement, far, tenant)
        proxy.arm(statement, moment)
        acknowledged += await emit_by(statement, far, moment.name)
        assert proxy.happened == times, moment
        assert far.emitter.figures().retries >= times, moment
        assert await everything(tenant) == acknowledged, moment
    assert_gapless(acknowledged)


@pytest.mark.parametrize("far", ["unix socket"], indirect=True)
async def test_over_a_unix_socket_too(tenant: Tenant, far: Tenant, proxy: Proxy) -> None:
    acknowledged: list[RecordedEvent] = []
    for times, statement in enumerate([LONE, NEW], 1):
        acknowledged += await emit_before(statement, far, tenant)
        proxy.arm(statement, Moment.AFTER_THE_COMMIT)
        acknowledged += await emit_by(statement, far, statement)
        assert proxy.happened == times
    assert await everything(tenant) == acknowledged
    assert_gapless(acknowledged)


async def test_a_batch_of_many_callers_is_answered_each_with_its_own_first_recording(
    tenant: Tenant, far: Tenant, proxy: Proxy
) -> None:
    await far.emitter.emit(fact(far))
    proxy.arm(NEW, Moment.AFTER_THE_COMMIT)
    events = [fact(far, f"run-{n % 4}", n=n) for n in range(60)]

    acknowledged = await asyncio.gather(*(far.emitter.emit(event) for event in events))

    assert proxy.happened == 1
    assert [recorded.event_id for recorded in acknowledged] == [event.event_id for event in events]
    stored = await everything(tenant)
    assert_gapless(stored)
    assert stored[1:] == acknowledged


async def emit_until_late(tenant: Tenant, event: Event) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"once or not at all.*Retrying may help"):
        await asyncio.wait_for(tenant.emitter.emit(event), 30)
    assert time.monotonic() - begun > DEADLINE_SECONDS * 0.9


async def test_an_answer_that_never_comes_ends_at_the_deadline_and_the_next_try_finds_it(
    tenant: Tenant, impatient: Tenant, proxy: Proxy
) -> None:
    event = fact(impatient)
    proxy.arm(LONE, Moment.NEVER)
    await emit_until_late(impatient, event)
    assert await emitted(impatient, event) == await everything(tenant)


@pytest.mark.parametrize("statement", ["ledger.identity", "position = ANY"], ids=["connecting", "looking up"])
async def test_a_network_that_loses_the_way_beside_the_append_does_not_stop_the_emitter_for_ever(
    tenant: Tenant, impatient: Tenant, proxy: Proxy, statement: str
) -> None:
    event = fact(impatient)
    if statement == "position = ANY":  # it reads the first recording of an event that is there already
        await impatient.emitter.emit(event)
    proxy.arm(statement, Moment.NEVER)
    await emit_until_late(impatient, event)
    assert proxy.happened == 1
    assert await emitted(impatient, event) == await everything(tenant)


async def emitted(tenant: Tenant, event: Event) -> list[RecordedEvent]:
    """As a caller with patience does: the same event again after each StoreUnavailable."""
    async with asyncio.timeout(60):
        while True:
            try:
                return [await tenant.emitter.emit(event)]
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_a_subscriber_whose_network_loses_the_way_goes_on_where_it_was(
    tenant: Tenant, impatient: Tenant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READ_SECONDS_MAX", 1.0)
    stored = [(await tenant.store.append([fact(tenant, n=n)]))[0] for n in range(3)]
    seen: list[RecordedEvent] = []

    async def tail() -> None:
        async for event in impatient.store.subscribe(batch=2):
            seen.append(event)

    proxy.arm("position <= $2", Moment.NEVER)  # a page
    tailing = asyncio.create_task(tail())
    async with asyncio.timeout(60):
        while len(seen) < 3:
            await asyncio.sleep(0.02)
        proxy.arm("FROM ledger.head", Moment.NEVER)  # a look for more
        stored += [(await tenant.store.append([fact(tenant, n=n)]))[0] for n in range(3)]
        while len(seen) < 6:
            await asyncio.sleep(0.02)
    tailing.cancel()
    assert proxy.happened == 2
    assert seen == stored
