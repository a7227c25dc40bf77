"""A payload's shape changes: what a log holds of the old one is read in the present one, by everybody who
reads, and its bytes stay as they are. (No shape was changed yet: this one is, for the test's time.)"""

from typing import Any

import orjson
import pytest

from ledger import Event, EventType, RecordedEvent, Settings, Tenant
from ledger.contract import events, evolution
from ledger.errors import ProjectionStopped
from projections import rebuild, verify
from projections.audit import AuditQueries
from projections.projector import Projector

KIND = EventType.RUN_CANCELLED
OLD = {"who": "ada", "reason": "a holiday"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def recorded(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> RecordedEvent:
    """A cancellation in the shape of version 1, which called `by` `who`; now version 2 is in force."""
    pack = {"prompt_pack": {"pack_id": "p", "version": 1, "digest": "ab" * 32}}
    await tenant.emitter.emit_many(
        [
            Event(event_type="run.started", run_id="run", tenant_id=tenant.tenant_id, payload=pack),
            Event(event_type=KIND, run_id="run", tenant_id=tenant.tenant_id, payload=OLD),
        ]
    )

    def to_2(payload: dict[str, Any]) -> dict[str, Any]:
        payload["by"] = payload.pop("who")
        return payload

    monkeypatch.setitem(evolution.SCHEMA_VERSIONS, KIND, 2)  # type: ignore[arg-type]
    monkeypatch.setitem(evolution.UPCASTERS, (KIND, 1), to_2)  # type: ignore[arg-type]
    monkeypatch.setitem(events._PRESENT, KIND.value, 2)  # the same by name
    return (await tenant.store.read(after=1))[0]


async def test_store_tables_and_audit_read_it_in_the_present_shape(
    tenant: Tenant, recorded: RecordedEvent
) -> None:
    present = {"by": "ada", "reason": "a holiday"}
    assert recorded.payload == present
    assert (recorded.schema_version, orjson.loads(recorded.data or b"")) == (1, OLD), "as it was recorded"
    assert (await anext(tenant.store.subscribe(1))).payload == present

    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()
    acts = "SELECT actor, reason FROM projection.audit_logs WHERE action = 'run.cancelled'"
    assert [tuple(row) for row in await tenant.reader.fetch(acts)] == [("ada", "a holiday")]
    assert await tenant.reader.fetchval("SELECT count(*) FROM projection.anomalies") == 0
    await rebuild(tenant, workers=0)
    assert [tuple(row) for row in await tenant.reader.fetch(acts)] == [("ada", "a holiday")]
    assert (await verify(tenant, workers=0)).ok

    timeline = await AuditQueries(tenant).timeline("run")
    assert not timeline.entries[-1].anomalies
    assert (await tenant.store.read(after=1))[0].data == recorded.data


async def test_new_events_are_written_in_the_present_version(tenant: Tenant, recorded: RecordedEvent) -> None:
    event = Event(event_type=KIND, run_id="run", tenant_id=tenant.tenant_id, payload={"by": "bob"})
    assert event.schema_version == 2
    assert (await tenant.emitter.emit(event)).payload == {"by": "bob"}
    stored = (await tenant.store.read(after=2))[0]
    assert (stored.schema_version, stored.payload) == (2, {"by": "bob"})


async def test_what_a_newer_daicho_wrote_stops_a_projection_there_and_nothing_is_guessed(
    tenant: Tenant, recorded: RecordedEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Event(event_type=KIND, run_id="run", tenant_id=tenant.tenant_id, payload={"by": "bob"})
    await tenant.emitter.emit(event)
    monkeypatch.undo()  # the older one again

    with pytest.raises(ProjectionStopped, match=r"position 3.*newer daicho"):
        await rebuild(tenant, workers=0)
