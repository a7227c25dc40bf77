"""Reading streams for a rebuild: one after the other as they stand in the index, and none of them sorted."""

import pytest

from ledger import Settings, Tenant
from ledger.store.tenant_database import Role
from projections.workers.ranges import Span
from projections.workers.reading import READ_STREAMS, reading, streams_of_span
from tests.bench.history import append_history

EVENTS = 20_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def test_streams_come_in_order_of_their_index(tenant: Tenant) -> None:
    await append_history(tenant, EVENTS)
    async with reading(tenant.database, Role.PROJECTOR, by_stream=True) as connection:
        streams = await streams_of_span(connection, Span(0, EVENTS))
        lines = await connection.fetch(f"EXPLAIN {READ_STREAMS}", streams, EVENTS)
        events = await connection.fetch(READ_STREAMS, streams, EVENTS)

    plan = "\n".join(line[0] for line in lines)
    assert "Index Scan using events_stream_version_key" in plan
    assert "Sort" not in plan
    places = [(event["stream_id"], event["version"]) for event in events]
    assert len(places) == EVENTS
    assert places == sorted(places)
