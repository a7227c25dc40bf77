"""The recorder on the ledger: one log, one order, for runs and for applications."""

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactory,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from ledger import Event, EventType, Ledger, Tenant
from ledger.contract.names import TENANT_STREAM
from ledger.store.recorder import (
    DaichoApplicationRecorder,
    DaichoFactory,
    InvalidStoredEvent,
    RecordConflict,
    StateErased,
    TenantHandleMissing,
    background,
)
from ledger.store.recorder.naming import OWN_TYPE
from ledger.store.tenant_database import Role
from projections import rebuild, verify


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


# Guards of the database


async def test_an_applications_event_is_as_immutable_as_any(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a")])
    connection = await ledger.server.connect(tenant.database.name)
    for statement in ("UPDATE ledger.events SET payload = ''", "DELETE FROM ledger.events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_no_role_changes_snapshots_or_tracking_but_through_the_functions(tenant: Tenant) -> None:
    for role in (Role.WRITER, Role.READER, Role.PROJECTOR):
        connection = await tenant.database.connect(role)
        verbs = ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"]
        if role is not Role.READER:
            verbs.append("SELECT FROM {}")
        for verb in verbs:
            for table in ("ledger.snapshots", "ledger.tracking"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(verb.format(table))
        await connection.close()


async def test_only_the_writer_may_call_the_functions(tenant: Tenant) -> None:
    calls = [
        "append_stored_events_v1('{}','{}','{}','{}','{}','{}','a',NULL,NULL)",
        "insert_snapshots_v1('{}','{}','{}','{}')",
        "insert_tracking_v1('a','b',1)",
    ]
    for role in Role:
        connection = await tenant.database.connect(role)
        for call in calls:
            if role in {Role.WRITER, Role.OWNER}:
                with contextlib.suppress(asyncpg.UniqueViolationError):
                    await connection.execute(f"SELECT ledger.{call}")
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT ledger.{call}")
        await connection.close()


APPEND = "SELECT ledger.append_stored_events_v1($1, $2, $3, $4, $5, $6, 'Orders', NULL, NULL)"


OUT_OF_BOUNDS = [
    ("run", 1, "app:Made"),
    (TENANT_STREAM, 1, "app:Made"),
    ("$x/a", 1, "app:Made"),
    ("Bills/a", 1, "app:Made"),
    ("Orders", 1, "app:Made"),
    ("Orders/a", -1, "app:Made"),
    ("Orders/a", 1, "run.started"),
    ("Orders/a", 1, None),
    ("Orders/a", None, "app:Made"),
    (None, 1, "app:Made"),
]


async def test_the_database_itself_keeps_applications_to_their_streams_and_topics(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.WRITER)
    for stream, version, topic in OUT_OF_BOUNDS:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(APPEND, [uuid4()], [stream], [version], [topic], [b""], [bytes(16)])
    await connection.close()
    assert await tenant.store.head() == 0


async def test_the_database_and_the_code_agree_on_what_the_ledgers_own_types_look_like(
    ledger: Ledger, tenant: Tenant
) -> None:
    topics = [
        *EventType,
        "run",
        "run.",
        "run.x",
        "run.X",
        "payload.a_b",
        "runs.a",
        "a.run.b",
        "run.a.b",
        "run.ä",
    ]
    connection = await ledger.server.connect(tenant.database.name)
    for topic in topics:
        own = await connection.fetchval("SELECT ledger.is_own_type_v1($1)", str(topic))
        assert own == bool(OWN_TYPE.fullmatch(topic)), topic
    await connection.close()


async def test_an_erased_state_is_said_to_be_erased(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1), stored("b", 1)])
        connection = await ledger.server.connect(tenant.database.name)
        await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
        await connection.execute("UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 1")
        await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
        await connection.close()
        with pytest.raises(StateErased, match="version 1 of a"):
            recorder.select_events("a")
        assert len(recorder.select_events("b")) == 1


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("select_notifications", ("Orders", 990, 2000, None, 10)),
        ("max_notification_id", ("Orders",)),
    ],
)
async def test_an_applications_notifications_are_found_by_their_index(
    ledger: Ledger, tenant: Tenant, statement: str, arguments: tuple[Any, ...]
) -> None:
    from ledger.store.recorder.datastore import _SQL

    async with recording(tenant) as recorder, recording(tenant, "Bills") as others:
        recorder.insert_events([stored("a", n) for n in range(1_000)])
        others.insert_events([stored("a", n) for n in range(3_000)])
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("ANALYZE ledger.events")
    plan = await connection.fetch(f"EXPLAIN {_SQL[statement]}", *arguments)
    await connection.close()
    assert "events_application_idx" in str(plan)


# Trouble


class AnswerLost:
    """A connection that executes and loses the answer, once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetchval(self, *arguments: Any) -> Any:
        await self._connection.fetchval(*arguments)
        raise ConnectionResetError("the answer was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_a_lost_answer_is_found_out_and_the_events_are_there_once(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        recorder.datastore._writer = AnswerLost(recorder.datastore._writer)  # type: ignore[assignment]
        assert recorder.insert_events([stored("a", 2), stored("b", 1)]) == [2, 3]
        assert recorder.insert_events([stored("a", 3)]) == [4]
    assert await tenant.store.head() == 4


async def test_a_conflict_met_by_the_second_try_is_still_a_conflict(tenant: Tenant) -> None:
    class Cut(AnswerLost):
        async def fetchval(self, *arguments: Any) -> Any:
            raise ConnectionResetError("nothing was sent")

    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        recorder.datastore._writer = Cut(recorder.datastore._writer)  # type: ignore[assignment]
        with pytest.raises(RecordConflict):
            recorder.insert_events([stored("a", 1)])


async def test_after_its_connections_were_cut_it_connects_again(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        connection = await ledger.server.connect(tenant.database.name)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        assert recorder.insert_events([stored("a", 2)]) == [2]
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored("a", 2)])


async def test_a_call_ends_within_its_deadline_and_its_events_are_there_once_or_not(
    ledger: Ledger, tenant: Tenant
) -> None:
    async with recording(tenant) as recorder:
        recorder.datastore._deadline_seconds = 0.2
        connection = await ledger.server.connect(tenant.database.name)
        async with connection.transaction():
            await connection.execute("SELECT FROM ledger.head FOR UPDATE")
            with pytest.raises(OperationalError, match="Retrying may help"):
                await asyncio.to_thread(recorder.insert_events, [stored("a")])
        await connection.close()
        recorder.datastore._deadline_seconds = 5
        positions = recorder.insert_events([stored("b")])
        found = recorder.select_notifications(None, 10)
        assert [notification.id for notification in found][-1:] == positions
        assert [notification.originator_id for notification in found] in (["b"], ["a", "b"])


# Subscriptions


async def test_a_subscription_misses_and_repeats_nothing_while_others_write(tenant: Tenant) -> None:
    expected = 300

    def read(recorder: DaichoApplicationRecorder) -> list[int]:
        found: list[int] = []
        with recorder.subscribe() as subscription:
            for notification in subscription:
                found.append(notification.id)
                if len(found) == expected:
                    break
        return found

    def write(recorder: DaichoApplicationRecorder, order: str) -> list[int]:
        return [p for n in range(100) for p in recorder.insert_events([stored(order, n)]) or ()]

    async def emit() -> None:
        for _ in range(150):
            await tenant.emitter.emit(fact(tenant))

    async with recording(tenant) as recorder, recording(tenant) as other, recording(tenant, "Bills") as bills:
        read_ids, _, _, *written = await asyncio.wait_for(
            asyncio.gather(
                asyncio.to_thread(read, recorder),
                emit(),
                asyncio.to_thread(write, bills, "x"),
                *(asyncio.to_thread(write, (recorder, other)[n % 2], f"order-{n}") for n in range(3)),
            ),
            60,
        )
    assert read_ids == sorted(position for positions in written for position in positions)


async def test_a_subscription_sees_what_another_process_recorded(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        with recorder.subscribe() as subscription:
            coming = asyncio.ensure_future(asyncio.to_thread(next, subscription))
            await asyncio.sleep(0.05)
            connection = await tenant.database.connect(Role.WRITER)
            await connection.execute(APPEND, [uuid4()], ["Orders/a"], [1], ["app:Made"], [b"x"], [bytes(16)])
            await connection.close()
            assert (await asyncio.wait_for(coming, 5)).originator_id == "a"


async def test_a_waiting_subscription_can_be_stopped_from_another_thread(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        subscription = recorder.subscribe()
        waiting = asyncio.ensure_future(asyncio.to_thread(list, subscription))
        await asyncio.sleep(0.05)
        subscription.stop()
        assert await asyncio.wait_for(waiting, 5) == []


# Handles, threads, processes


async def test_the_environment_holds_text_and_no_address(tenant: Tenant) -> None:
    env = tenant.application_env()
    assert env.keys() == {"PERSISTENCE_MODULE", "DAICHO_TENANT_HANDLE"}
    assert tenant.database.name not in str(env)
    assert tenant.application_env() == env


async def test_a_handle_ends_with_its_tenant(settings: Any) -> None:
    async with await Ledger.open(settings) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "A tenant")
        env = (await ledger.tenant(tenant_id)).application_env()
    for given in (env, {"PERSISTENCE_MODULE": "ledger.store.recorder"}):
        with pytest.raises(TenantHandleMissing, match="application_env"):
            InfrastructureFactory.construct(Environment("Orders", given))


async def test_a_closed_application_says_so_and_the_last_one_stops_the_thread(tenant: Tenant) -> None:
    others = background._users
    factory, another = factory_of(tenant), factory_of(tenant)
    assert background._users == others, "nothing is opened before it is used"
    recorder = factory.application_recorder()
    recorder.insert_events([stored("a")])
    assert another.application_recorder().max_notification_id() == 1
    assert background._users == others + 2
    factory.close()
    factory.close()
    with pytest.raises(InterfaceError, match="closed"):
        recorder.select_events("a")
    another.close()
    assert background._users == others == 0, "an application of another test was not closed"
    assert "daicho-recorder" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_after_a_fork_the_parents_recorder_refuses_and_a_new_one_works(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a")])
        env = tenant.application_env()

        def in_child() -> bool:
            try:
                recorder.insert_events([stored("a", 2)])
            except InterfaceError:
                factory = InfrastructureFactory.construct(Environment("Orders", env))
                positions = factory.application_recorder().insert_events([stored("b")])
                factory.close()
                return positions == [2]
            return False

        assert await asyncio.to_thread(_exit_code, in_child) == 0
        assert recorder.insert_events([stored("a", 2)]) == [3]


def _exit_code(work: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
