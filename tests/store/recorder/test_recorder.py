"""The recorder on the ledger: one log, one order, for runs and for applications."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    ProgrammingError,
    Tracking,
)
from recorders import fact, factory_of, recording, stored

from ledger import EventType, Ledger, Tenant
from ledger.store.recorder import (
    DaichoApplicationRecorder,
    InvalidStoredEvent,
    RecordConflict,
)
from projections import rebuild, verify

# One log


async def test_an_applications_event_is_read_as_one_that_means_nothing_to_the_ledger(tenant: Tenant) -> None:
    order = uuid4()
    async with recording(tenant) as recorder:
        await tenant.emitter.emit(fact(tenant))
        assert recorder.insert_events([stored(order, 0), stored(order, 1)]) == [2, 3]

    first, second = await tenant.store.read(after=1)
    assert (first.position, first.version, first.run_id) == (2, 0, f"Orders/{order}")
    assert (second.position, second.version, second.event_type) == (3, 1, "app:Made")
    assert not isinstance(first.event_type, EventType)
    assert (first.payload, first.data, first.is_erased) == (None, b"\xff\x00", False)
    assert (first.step_id, first.attempt, first.actor, first.traceparent) == (None, None, None, None)
    assert first.timestamp == first.recorded_at
    assert await tenant.store.read_run(first.run_id) == [first, second]
    assert await tenant.store.find(first.event_id) == first
    assert first.to_dict()["payload"] is None


async def test_emits_and_recordings_at_once_leave_no_gap_and_keep_each_streams_versions(
    tenant: Tenant,
) -> None:
    orders = [uuid4() for _ in range(4)]

    def record(recorder: DaichoApplicationRecorder, order: UUID) -> list[int]:
        positions: list[int] = []
        for version in range(1, 41, 2):
            events = [stored(order, version), stored(order, version + 1)]
            positions.extend(recorder.insert_events(events) or ())
        return positions

    async def emit(run_id: str) -> list[int]:
        return [(await tenant.emitter.emit(fact(tenant, run_id))).position for _ in range(50)]

    async with recording(tenant) as recorder:
        answers = await asyncio.gather(
            *(asyncio.to_thread(record, recorder, order) for order in orders),
            *(emit(f"run-{number}") for number in range(3)),
        )

    events = await tenant.store.read()
    assert [event.position for event in events] == list(range(1, 4 * 40 + 3 * 50 + 1))
    assert sorted(position for answer in answers for position in answer) == list(range(1, 311))
    for stream in {event.run_id for event in events}:
        versions = [event.version for event in events if event.run_id == stream]
        assert versions == list(range(1, len(versions) + 1))
    assert sorted(event.recorded_at for event in events) == [event.recorded_at for event in events]


async def test_what_is_stored_is_committed_to_with_its_salt(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a"), stored("b")])
    connection = await ledger.server.connect(tenant.database.name)
    rows = await connection.fetch("SELECT payload, salt, payload_commitment FROM ledger.events")
    await connection.close()
    assert len({row["salt"] for row in rows}) == 2
    for payload, salt, commitment in rows:
        assert commitment == hashlib.sha256(b"daicho:payload:v1\x00" + salt + payload).digest()


async def test_the_tables_pass_over_an_applications_events(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        async with tenant.run("run-1", prompt_pack="mock_pack"):
            recorder.insert_events([stored("a", n) for n in range(3)])
        last = (recorder.insert_events([stored("b")]) or [])[-1]
    await tenant.wait_projected(last)
    assert (await verify(tenant)).ok
    report = await rebuild(tenant)
    assert report.rows["runs"] == 1
    assert (await verify(tenant)).ok


async def test_whoever_subscribes_to_the_store_is_woken_by_an_application(tenant: Tenant) -> None:
    events = tenant.store.subscribe()
    async with recording(tenant) as recorder:
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(recorder.insert_events, [stored("a")])
        assert (await asyncio.wait_for(coming, 5)).run_id == "Orders/a"
    await events.aclose()


# Streams and topics


async def test_an_originators_id_comes_back_as_what_it_was(tenant: Tenant) -> None:
    as_uuid = UUID(int=0xAB)
    originators = [as_uuid, str(as_uuid), f"text:{as_uuid}", str(as_uuid).upper(), as_uuid.hex, "7/8", "日"]
    async with recording(tenant) as recorder:
        for n, originator in enumerate(originators):
            recorder.insert_events([stored(originator, state=b"%d" % n)])
        found = [notification.originator_id for notification in recorder.select_notifications(None, 10)]
        assert found == originators
        assert [type(originator) for originator in found] == [UUID, *[str] * 6]
        for n, originator in enumerate(originators):
            assert recorder.select_events(originator) == [stored(originator, state=b"%d" % n)]


REFUSED = [
    (stored("$tenant"), "reserved"),
    (stored(""), "1 to 1000 bytes"),
    (stored("a\x00"), "without U"),
    (stored("\ud800"), "surrogates"),
    (stored("a" * 1001), "1 to 1000 bytes"),
    (stored("a", -1), "versions from 0"),
    (stored("a", 2**63), "versions from 0"),
    (stored("a", topic=""), "1 to 1000 bytes"),
    (stored("a", topic="step.teleported"), "module:Class"),
    (stored("a", state=bytes(64 * 1024 + 1)), "at most 65536 bytes.*65537"),
    *((stored("a", topic=kind.value), "module:Class") for kind in EventType),
]


async def test_what_the_ledger_cannot_take_is_refused_before_it_is_sent(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        for event, found in REFUSED:
            with pytest.raises(InvalidStoredEvent, match=found) as refused:
                recorder.insert_events([stored("fine"), event])
            assert isinstance(refused.value, DataError)
    assert await tenant.store.head() == 0


async def test_a_state_of_64_kib_is_taken_and_a_snapshot_may_be_larger(tenant: Tenant) -> None:
    factory = factory_of(tenant)
    factory.application_recorder().insert_events([stored("a", state=bytes(64 * 1024))])
    snapshots = factory.aggregate_recorder(purpose="snapshots")
    large = stored("a", 1, "snapshot", bytes(1024 * 1024))
    snapshots.insert_events([large])
    assert snapshots.select_events("a", desc=True, limit=1) == [large]
    with pytest.raises(InvalidStoredEvent, match="at most 16777216 bytes"):
        snapshots.insert_events([stored("a", 2, "snapshot", bytes(16 * 1024 * 1024 + 1))])
    await asyncio.to_thread(factory.close)
    assert await tenant.store.head() == 1, "snapshots are not in the log"


async def test_topics_that_only_look_a_little_like_the_ledgers_own_are_free(tenant: Tenant) -> None:
    topics = ["run", "runs.started", "order.placed", "my.run.started", "run.started:Event", "step.A"]
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", n, topic) for n, topic in enumerate(topics)])
    assert [event.event_type for event in await tenant.store.read()] == topics


@pytest.mark.parametrize("name", ["$tenant", "a/b", " a", "a\n"])
async def test_an_application_cannot_take_a_name_that_would_leave_its_streams(
    tenant: Tenant, name: str
) -> None:
    with pytest.raises(InvalidStoredEvent, match="application's name"):
        factory_of(tenant, name)


# Versions


async def test_a_version_below_the_last_is_refused_also_where_it_is_free(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 3)])
        for versions in [(2,), (3,), (5, 4), (4, 4)]:
            with pytest.raises(IntegrityError):
                recorder.insert_events([stored("b"), *(stored("a", version) for version in versions)])
        assert recorder.insert_events([stored("a", 4), stored("b", 0), stored("a", 7)]) == [2, 3, 4]
    assert await tenant.store.head() == 4


async def test_of_many_writers_of_one_version_one_wins(tenant: Tenant) -> None:
    def record(recorder: DaichoApplicationRecorder, state: bytes) -> list[int] | None:
        try:
            return list(recorder.insert_events([stored("a", 1, state=state)]) or ())
        except RecordConflict:
            return None

    async with recording(tenant) as one, recording(tenant) as other:
        answers = await asyncio.gather(
            *(asyncio.to_thread(record, (one, other)[n % 2], b"%d" % n) for n in range(12))
        )
        assert [answer for answer in answers if answer] == [[1]]
        [event] = one.select_events("a")
        assert answers[int(event.state)] == [1]


# Applications beside each other


async def test_two_applications_of_a_tenant_do_not_mix(tenant: Tenant) -> None:
    order = uuid4()
    orders, bills = factory_of(tenant, "Orders"), factory_of(tenant, "Bills")
    of_orders, of_bills = orders.process_recorder(), bills.process_recorder()
    assert of_orders.insert_events([stored(order, 1), stored(order, 2)], tracking=Tracking("up", 5)) == [1, 2]
    assert of_bills.insert_events([stored(order, 1)], tracking=Tracking("up", 3)) == [3]
    assert of_orders.insert_events([stored(order, 3)]) == [4]

    assert [event.originator_version for event in of_orders.select_events(order)] == [1, 2, 3]
    assert [found.id for found in of_orders.select_notifications(None, 10)] == [1, 2, 4]
    assert [found.id for found in of_bills.select_notifications(None, 10)] == [3]
    assert (of_orders.max_notification_id(), of_bills.max_notification_id()) == (4, 3)
    assert (of_orders.max_tracking_id("up"), of_bills.max_tracking_id("up")) == (5, 3)
    for factory in (orders, bills):
        factory.aggregate_recorder("snapshots").insert_events([stored(order, 1)])
        await asyncio.to_thread(factory.close)


async def test_events_and_tracking_are_recorded_together_or_not_at_all(tenant: Tenant) -> None:
    factory = factory_of(tenant)
    recorder = factory.process_recorder()
    recorder.insert_events([stored("a")], tracking=Tracking("up", 2))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("b")], tracking=Tracking("up", 2))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("a")], tracking=Tracking("up", 3))
    assert (await tenant.store.head(), recorder.max_tracking_id("up")) == (1, 2)
    with pytest.raises(ProgrammingError, match="process recorder"):
        factory.application_recorder().insert_events([stored("c")], tracking=Tracking("up", 9))
    await asyncio.to_thread(factory.close)


async def test_there_is_no_table_for_an_unknown_purpose(tenant: Tenant) -> None:
    factory = factory_of(tenant)
    with pytest.raises(ProgrammingError, match="views"):
        factory.aggregate_recorder(purpose="views")
    await asyncio.to_thread(factory.close)
