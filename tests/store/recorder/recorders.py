"""Recorders that a test opens, and what it records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from eventsourcing.persistence import (
    InfrastructureFactory,
    StoredEvent,
)
from eventsourcing.utils import Environment

from ledger import Event, Tenant
from ledger.store.recorder import (
    DaichoApplicationRecorder,
    DaichoFactory,
)


def factory_of(tenant: Tenant, name: str = "Orders") -> DaichoFactory:
    factory = InfrastructureFactory.construct(Environment(name, tenant.application_env()))
    assert isinstance(factory, DaichoFactory)
    return factory


@asynccontextmanager
async def recording(tenant: Tenant, name: str = "Orders") -> AsyncIterator[DaichoApplicationRecorder]:
    factory = factory_of(tenant, name)
    try:
        yield factory.application_recorder()
    finally:
        await asyncio.to_thread(factory.close)


def stored(
    originator: UUID | str, version: int = 1, topic: str = "app:Made", state: bytes = b"\xff\x00"
) -> StoredEvent:
    return StoredEvent(originator, version, topic, state)


def fact(tenant: Tenant, run_id: str = "run") -> Event:
    return Event(event_type="run.succeeded", tenant_id=tenant.tenant_id, run_id=run_id)
