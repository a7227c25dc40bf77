"""A tenant's log, read whole, and what is true of every log."""

import asyncio
from collections import Counter

from ledger import Event, RecordedEvent, Tenant
from ledger.errors import StoreUnavailable


def fact(tenant: Tenant, run_id: str = "run", **payload: object) -> Event:
    return Event(event_type="run.succeeded", tenant_id=tenant.tenant_id, run_id=run_id, payload=payload)


async def everything(tenant: Tenant) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    while batch := await tenant.store.read(len(events), 10_000):
        events += batch
    return events


def assert_gapless(events: list[RecordedEvent]) -> None:
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: Counter[str] = Counter()
    for event in events:
        versions[event.run_id] += 1
        assert event.version == versions[event.run_id]
    assert len({event.event_id for event in events}) == len(events)


async def eventually_emitted(tenant: Tenant, event: Event) -> int:
    """As a caller with patience does: the same event again after each StoreUnavailable."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await tenant.emitter.emit(event)).position
            except StoreUnavailable:
                await asyncio.sleep(0.1)
