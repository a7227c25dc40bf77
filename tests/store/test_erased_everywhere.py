"""What was erased from the log is gone from every table and every answer, which say that it was there."""

from uuid import UUID, uuid4

import asyncpg
import pytest
from erasing import BY_HAND, CANARY, cancelled, of_run, secretive_run, superuser, where_it_stands

from ledger import Event, EventType, Ledger, RecordedEvent, Settings, Tenant
from ledger.control.guards import inspect_tenant
from ledger.control.migrations import owner_engine
from ledger.store.tenant_database import Role
from projections import Projector, rebuild, verify
from projections.audit import AuditQueries
from tests.control.test_migrations import downgrade


async def _erase_all(tenant: Tenant, events: list[RecordedEvent]) -> int:
    for event in events:
        record = await tenant.erase_payload(event.position, by="ann", reason="request 17")
    return record.position


async def test_nothing_is_left_of_it_in_any_table(ledger: Ledger, tenant: Tenant) -> None:
    events = await tenant.emitter.emit_many(secretive_run(tenant))
    neighbour = of_run(tenant, EventType.RUN_CANCELLED, reason="mine").model_copy(update={"run_id": "r2"})
    await tenant.emitter.emit(neighbour)
    await tenant.wait_projected(8)
    there = await where_it_stands(ledger, tenant, CANARY)
    assert there == [
        *("ledger.events", "projection.anomalies", "projection.artifacts", "projection.attempts"),
        *("projection.audit_logs", "projection.runs", "projection.steps"),
    ]

    await tenant.wait_projected(await _erase_all(tenant, events))

    assert await where_it_stands(ledger, tenant, CANARY) == []
    assert await where_it_stands(ledger, tenant, "mine") != []
    report = await verify(tenant)
    assert report.ok
    assert report.awaiting_erasure == []
    rebuilt = await rebuild(tenant)
    assert await where_it_stands(ledger, tenant, CANARY) == []
    assert rebuilt.rows["runs"] == 2
    assert CANARY not in (await AuditQueries(tenant).timeline("r")).model_dump_json()


@pytest.mark.parametrize("index", range(7))
async def test_erasing_one_event_of_a_run_leaves_live_tables_equal_to_a_fresh_fold(
    tenant: Tenant, index: int
) -> None:
    events = await tenant.emitter.emit_many(secretive_run(tenant))
    await tenant.wait_projected(7)
    record = await tenant.erase_payload(events[index].position, by="ann", reason="why")
    await tenant.emitter.emit(cancelled(tenant, "goes on"))
    await tenant.wait_projected(record.position + 1)
    report = await verify(tenant)
    assert report.ok, report.differences


async def test_tables_that_are_behind_an_erasure_are_not_called_wrong(settings: Settings) -> None:
    """Between an erasure and the projector's coming to it the run's rows can be compared with nothing."""
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "Behind")
        tenant = await ledger.tenant(tenant_id)
        await tenant.emitter.emit_many(secretive_run(tenant))
        projector = Projector(tenant.store)
        await projector.catch_up()
        await tenant.erase_payload(1, by="ann", reason="why")

        behind = await verify(tenant)
        assert (behind.ok, behind.awaiting_erasure, behind.position) == (True, ["r"], 7)
        assert behind.tables["runs"].rows == 0  # it was not compared, and is not counted as compared

        await projector.catch_up()
        await projector.close()
        caught_up = await verify(tenant)
        assert (caught_up.ok, caught_up.awaiting_erasure, caught_up.tables["runs"].rows) == (True, [], 1)


async def test_a_batch_may_hold_the_event_and_its_erasure_and_more_of_the_run(settings: Settings) -> None:
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "At once")
        tenant = await ledger.tenant(tenant_id)
        await tenant.emitter.emit_many(secretive_run(tenant))
        await tenant.erase_payload(3, by="ann", reason="why")
        await tenant.emitter.emit(cancelled(tenant))
        projector = Projector(tenant.store)
        assert await projector.catch_up() == 9
        await tenant.emitter.emit(cancelled(tenant, "again"))  # folded upon the state that was left in memory
        await tenant.erase_payload(9, by="ann", reason="why")
        await projector.catch_up()
        await projector.close()
        assert (await verify(tenant)).ok


async def test_an_administrative_fact_can_be_erased(ledger: Ledger, tenant: Tenant) -> None:
    fact = Event(
        event_type=EventType.PROJECTION_REBUILT,
        run_id="$tenant",
        tenant_id=tenant.tenant_id,
        payload={"digests": {"runs": CANARY}},
    )
    await tenant.emitter.emit(fact)
    await tenant.wait_projected(1)
    assert "projection.audit_logs" in await where_it_stands(ledger, tenant, CANARY)
    await tenant.wait_projected((await tenant.erase_payload(1, by="ann", reason="why")).position)
    assert await where_it_stands(ledger, tenant, CANARY) == []
    assert (await verify(tenant)).ok


async def test_states_taken_after_the_event_are_not_left_behind(ledger: Ledger, tenant: Tenant) -> None:
    """An aggregate's snapshot holds what its events said."""
    writer = await tenant.database.connect(Role.WRITER)
    appended = "SELECT ledger.append_stored_events_v1($1,$2,$3,$4,$5,$6,$7,NULL,NULL)"
    ids, streams = [UUID(int=1), UUID(int=2)], ["app/one", "app/one"]
    states = [CANARY.encode(), b"harmless"]
    await writer.execute(appended, ids, streams, [1, 2], ["t", "t"], states, [bytes(16), bytes(16)], "app")
    await writer.execute(
        "SELECT ledger.insert_snapshots_v1($1,$2,$3,$4)", streams, [0, 2], ["t", "t"], [b"before", states[0]]
    )
    await writer.close()
    await tenant.erase_payload(1, by="ann", reason="why")
    assert await where_it_stands(ledger, tenant, CANARY) == []
    assert await where_it_stands(ledger, tenant, "before") == ["ledger.snapshots"]


async def test_audit_says_when_by_whom_and_why(tenant: Tenant) -> None:
    events = await tenant.emitter.emit_many(secretive_run(tenant))
    record = await tenant.erase_payload(events[2].position, by="ann", reason="request 17")
    audit = AuditQueries(tenant)
    entries = (await audit.timeline("r")).entries
    assert [entry.erased for entry in entries] == [False, False, True, False, False, False, False]
    erased = entries[2]
    assert erased.summary == "payload erased by ann: request 17"
    assert (erased.erased_at, erased.erased_by, erased.erased_reason) == (
        record.recorded_at,
        "ann",
        "request 17",
    )
    assert (entries[0].erased_at, entries[0].erased_by, entries[0].erased_reason) == (None, None, None)
    [found] = await audit.erasures("r")
    assert (found.position, found.event_type, found.record_position) == (3, "step.failed", record.position)
    assert (found.erased_by, found.erased_reason) == ("ann", "request 17")
    assert await audit.erasures("r", position=2) == []
    assert (await audit.state_at("r"))["errors"] == []


async def test_a_tenant_of_an_earlier_revision_gets_the_role_and_the_function(
    ledger: Ledger, tenant: Tenant
) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    record = await tenant.erase_payload(1, by="ann", reason="why")
    eraser = tenant.database.role(Role.ERASER)
    await downgrade(owner_engine(tenant.database), "tenant", "0003")
    owner = await tenant.database.connect(Role.OWNER)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(BY_HAND["without a record"])
    await owner.close()
    connection = await superuser(ledger, tenant)
    await connection.execute(f'DROP OWNED BY "{eraser}"; DROP ROLE "{eraser}"')
    await connection.close()

    await ledger.tenants.migrate(tenant.tenant_id)

    assert await inspect_tenant(tenant.database) == []
    assert await tenant.erase_payload(1, by="bob", reason="again") == record
