"""Erasing: what a payload said is gone from the log and from every table, that it was there and who
erased it stays; and no erasure without its record, no record without its erasure."""

import asyncio
import hashlib
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from ledger import Event, EventType, Ledger, RecordedEvent, Settings, Tenant
from ledger.contract.erasure import erasure_id
from ledger.contract.payloads import PayloadErased
from ledger.control.guards import inspect_tenant
from ledger.control.migrations import owner_engine
from ledger.errors import ErasureRefused, InvalidErasure, InvalidEvent, PositionNotReached, StoreError
from ledger.store.append import append_arguments, encode_group
from ledger.store.codec import encode_payload
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from projections import Projector, rebuild, verify
from projections.audit import AuditQueries
from tests.control.test_migrations import downgrade

CANARY = "canary-7f3a"
DIGEST = hashlib.sha256(b"x").hexdigest()
APPEND = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"


def ref(tenant: Tenant, name: str) -> dict[str, object]:
    return {
        "path": f"storage/{tenant.tenant_id}/r/draft/{name}",
        "digest": DIGEST,
        "content_type": "text/plain",
        "size_bytes": 1,
        "created_at": "2026-01-01T00:00:00Z",
    }


def of_run(tenant: Tenant, event_type: EventType, **payload: object) -> Event:
    step = {"step_id": "draft", "attempt": 1} if event_type.is_of_step else {}
    return Event(event_type=event_type, run_id="r", tenant_id=tenant.tenant_id, payload=payload, **step)  # type: ignore[arg-type]


def secretive_run(tenant: Tenant) -> list[Event]:
    """A run in which every event says the canary."""
    error = {
        "step_id": "draft",
        "category": "retryable",
        "message": CANARY,
        "details": {"who": CANARY},
        "occurred_at": "2026-01-01T00:00:00Z",
        "attempt": 1,
    }
    secret = ref(tenant, CANARY)
    return [
        of_run(
            tenant,
            EventType.RUN_STARTED,
            prompt_pack={"pack_id": CANARY, "version": 1, "digest": CANARY},
            pipeline=CANARY,
            config={"customer": CANARY},
            labels={CANARY: 1},
            inputs=[secret],
        ),
        of_run(tenant, EventType.STEP_STARTED, worker=CANARY, model=CANARY, inputs=[secret]),
        of_run(tenant, EventType.STEP_FAILED, error=error),
        of_run(tenant, EventType.ARTIFACT_STORED, name=CANARY, ref=secret),
        of_run(tenant, EventType.REPAIR_APPLIED, kind="fix", before=secret, after=secret, note=CANARY),
        of_run(tenant, EventType.STEP_SUCCEEDED, outputs={CANARY: secret}, usage={"model": CANARY}),
        of_run(tenant, EventType.RUN_FAILED, error=error, summary=CANARY, **{CANARY: CANARY}),
    ]


def cancelled(tenant: Tenant, reason: str = CANARY) -> Event:
    return of_run(tenant, EventType.RUN_CANCELLED, reason=reason)


async def superuser(ledger: Ledger, tenant: Tenant) -> Connection:
    return await ledger.server.connect(tenant.database.name)


async def where_it_stands(ledger: Ledger, tenant: Tenant, text: str) -> list[str]:
    """Every table of the tenant's database in which any column of any row holds `text`."""
    connection = await superuser(ledger, tenant)
    tables = await connection.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('ledger', 'projection') AND c.relkind = 'r'"
    )
    # bytea is shown as hex: look for both.
    found = [
        row["name"]
        for row in tables
        if await connection.fetchval(
            f"SELECT bool_or(strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0) FROM {row['name']} t",
            text,
            text.encode().hex(),
        )
    ]
    await connection.close()
    return sorted(found)


async def test_the_payload_goes_and_the_commitment_stays(ledger: Ledger, tenant: Tenant) -> None:
    [first, second] = await tenant.emitter.emit_many([cancelled(tenant), cancelled(tenant, "kept")])
    connection = await superuser(ledger, tenant)
    row = "SELECT * FROM ledger.events WHERE position = $1"
    before = dict(await connection.fetchrow(row, first.position) or {})

    record = await tenant.erase_payload(first.position, by="ann", reason="request 17")

    after = dict(await connection.fetchrow(row, first.position) or {})
    assert after == {**before, "payload": None, "salt": None}
    recorded = dict(await connection.fetchrow(row, record.position) or {})
    assert (
        recorded["payload_commitment"]
        == hashlib.sha256(b"daicho:payload:v1\x00" + recorded["salt"] + recorded["payload"]).digest()
    )
    await connection.close()
    assert (record.position, record.version, record.run_id, record.actor) == (3, 1, "$tenant", "ann")
    assert record.event_type is EventType.PAYLOAD_ERASED
    said = PayloadErased.model_validate(record.payload)
    assert (said.position, said.by, said.reason) == (1, "ann", "request 17")
    assert said.event_id == str(first.event_id)
    [erased, kept, stored] = await tenant.store.read()
    assert erased.is_erased
    assert erased.payload is None
    assert (kept, stored) == (second, record)
    assert record.recorded_at >= second.recorded_at


async def test_the_record_is_what_the_codec_would_have_written(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    said = 'quotes " \\ / newline \n tab \t accents é 日本 🙂'
    record = await tenant.erase_payload(1, by='A. "B" Ünal', reason=said)
    assert record.payload is not None
    assert record.payload["reason"] == said
    event = Event(
        event_type=EventType.PAYLOAD_ERASED,
        run_id="$tenant",
        tenant_id=tenant.tenant_id,
        payload=record.payload,
    )
    assert record.data == encode_payload(event)


async def test_erasing_again_returns_the_first_record_and_writes_nothing(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    first = await tenant.erase_payload(1, by="ann", reason="request 17")
    assert await tenant.erase_payload(1, by="bob", reason="another") == first
    assert await tenant.store.head() == 2


async def test_many_who_erase_the_same_at_once_make_one_record(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    records = await asyncio.gather(
        *(tenant.erase_payload(1, by=f"who-{number}", reason="why") for number in range(8))
    )
    assert len(set(records)) == 1
    assert await tenant.store.head() == 2


async def test_erasing_while_others_append_leaves_no_gap(tenant: Tenant) -> None:
    await tenant.emitter.emit_many([cancelled(tenant, str(number)) for number in range(10)])

    async def append() -> None:
        for number in range(20):
            await tenant.emitter.emit(cancelled(tenant, f"more {number}"))

    await asyncio.gather(append(), *(tenant.erase_payload(p, by="a", reason="b") for p in range(1, 11)))
    events = await tenant.store.read()
    assert [event.position for event in events] == list(range(1, 41))
    assert [e.version for e in events if e.run_id == "$tenant"] == list(range(1, 11))
    assert [event.recorded_at for event in events] == sorted(event.recorded_at for event in events)
    assert [event.position for event in events if event.is_erased] == list(range(1, 11))


@pytest.mark.parametrize("position", [-1, 0, 2, 2**63 - 1, 2**63])
async def test_a_position_that_is_not_there(tenant: Tenant, position: int) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    with pytest.raises(PositionNotReached, match="nothing was erased"):
        await tenant.erase_payload(position, by="ann", reason="why")
    assert await tenant.store.head() == 1


async def test_the_record_of_an_erasure_is_never_erased(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    record = await tenant.erase_payload(1, by="ann", reason="why")
    with pytest.raises(ErasureRefused, match="record of an erasure"):
        await tenant.erase_payload(record.position, by="ann", reason="no trace")
    assert await tenant.store.head() == 2


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("", "why"),
        ("ann", " "),
        ("a" * 256, "why"),
        ("ann", "w" * 2_001),
        ("ann\n", "why"),
        ("ann", "a\x00"),
        ("ann", "\ud800"),
        ("\x9b", "why"),
    ],
)
async def test_an_erasure_says_by_whom_and_why(tenant: Tenant, by: str, reason: str) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    with pytest.raises(InvalidErasure, match="Nothing was erased"):
        await tenant.erase_payload(1, by=by, reason=reason)
    assert [event.is_erased for event in await tenant.store.read()] == [False]


async def test_the_database_asks_by_whom_and_why_too(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    connection = await tenant.database.connect(Role.ERASER)
    for arguments in ((1, None, "why"), (1, "ann", None), (1, " ", "why"), (1, "ann", "")):
        with pytest.raises(asyncpg.PostgresError, match="by whom"):
            await connection.fetchrow("SELECT * FROM ledger.erase_payload_v1($1, $2, $3)", *arguments)
    await connection.close()


async def test_nobody_emits_that_something_was_erased(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    forged = Event(
        event_type=EventType.PAYLOAD_ERASED,
        run_id="$tenant",
        tenant_id=tenant.tenant_id,
        payload={"position": 1, "by": "ann", "reason": "why"},
    )
    with pytest.raises(InvalidEvent, match=r"tenant\.erase_payload"):
        await tenant.emitter.emit(forged)
    with pytest.raises(InvalidEvent, match=r"tenant\.erase_payload"):
        await tenant.store.append([forged])
    assert await tenant.store.head() == 1


async def test_the_database_refuses_a_record_that_erased_nothing(tenant: Tenant) -> None:
    event = await tenant.emitter.emit(cancelled(tenant))
    writer = await tenant.database.connect(Role.WRITER)
    arguments = list(append_arguments([encode_group([cancelled(tenant)])]))
    payload = {"position": 1, "event_id": str(event.event_id), "by": "ann", "reason": "why"}
    arguments[1], arguments[2], arguments[3] = [erasure_id(event.event_id)], ["$tenant"], ["payload.erased"]
    arguments[10] = [orjson.dumps(payload)]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="erased nothing"):
        await writer.fetchrow(APPEND, *arguments)
    await writer.close()
    assert await tenant.store.head() == 1
    assert (await tenant.erase_payload(1, by="ann", reason="why")).position == 2


BY_HAND = {
    "without a record": "UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 1",
    "the payload alone": "UPDATE ledger.events SET payload = NULL WHERE position = 1",
    "another payload": "UPDATE ledger.events SET payload = '\\x7b7d' WHERE position = 1",
    "the commitment too": """UPDATE ledger.events SET payload = NULL, salt = NULL,
                             payload_commitment = sha256('') WHERE position = 1""",
    "the time too": """UPDATE ledger.events SET payload = NULL, salt = NULL,
                       recorded_at = now() WHERE position = 1""",
    "a neighbour": "UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 2",
    "back again": "UPDATE ledger.events SET payload = '\\x7b7d', salt = '\\x00112233445566778899aabbccddeeff'"
    " WHERE position = 3",
    "an erased one": "UPDATE ledger.events SET payload_commitment = sha256('') WHERE position = 3",
    "the record": """UPDATE ledger.events SET payload = NULL, salt = NULL
                     WHERE event_type = 'payload.erased'""",
}


@pytest.mark.parametrize("mode", ["origin", "replica"])
@pytest.mark.parametrize("who", ["owner", "superuser"])
async def test_no_other_change_is_let_through_by_anybody(
    ledger: Ledger, tenant: Tenant, who: str, mode: str
) -> None:
    await tenant.emitter.emit_many([cancelled(tenant, str(number)) for number in range(3)])
    await tenant.erase_payload(3, by="ann", reason="why")
    connection = await superuser(ledger, tenant)
    await connection.execute(f"SET session_replication_role = {mode}")
    if who == "owner":
        await connection.execute(f'SET ROLE "{tenant.database.role(Role.OWNER)}"')
    before = await tenant.store.read()
    for name, change in BY_HAND.items():
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            pytest.fail(f"{name}: {await connection.execute(change)}")
    # Nor behind a true erasure in the same transaction.
    behind = f"BEGIN; SELECT ledger.erase_payload_v1(1, 'ann', 'why'); {BY_HAND['a neighbour']}"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(behind)
    await connection.execute("ROLLBACK")
    await connection.close()
    assert await tenant.store.read() == before


async def test_a_record_of_an_earlier_transaction_opens_nothing(ledger: Ledger, tenant: Tenant) -> None:
    """With the guards down somebody puts a payload back; with the guards up again it stays where it is."""
    await tenant.emitter.emit(cancelled(tenant))
    await tenant.erase_payload(1, by="ann", reason="why")
    connection = await superuser(ledger, tenant)
    await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
    await connection.execute(
        "UPDATE ledger.events SET payload = '\\x7b7d', salt = sha256('')::bytea WHERE false; "
        "UPDATE ledger.events SET payload = '\\x7b7d', salt = substr(sha256(''), 1, 16) WHERE position = 1"
    )
    await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await connection.execute(BY_HAND["without a record"])
    await connection.close()
    with pytest.raises(StoreError):
        await tenant.erase_payload(1, by="ann", reason="why")


async def test_only_the_eraser_may_erase(tenant: Tenant) -> None:
    await tenant.emitter.emit(cancelled(tenant))
    for role in (Role.WRITER, Role.PROJECTOR, Role.READER):
        connection = await tenant.database.connect(role)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await connection.execute("SELECT ledger.erase_payload_v1(1, 'ann', 'why')")
        await connection.close()
    assert not (await tenant.store.read())[0].is_erased


async def test_what_was_emitted_before_it_was_erased_is_a_duplicate_by_its_id_alone(tenant: Tenant) -> None:
    event = cancelled(tenant)
    first = await tenant.emitter.emit(event)
    await tenant.erase_payload(1, by="ann", reason="why")
    again = await tenant.emitter.emit(event)
    assert again == first._replace(data=None)
    other = event.model_copy(update={"payload": {"reason": "other"}})
    assert (await tenant.emitter.emit(other)).position == 1
    assert await tenant.store.head() == 2


async def test_python_and_the_database_agree_on_the_records_id(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.OWNER)
    for number in range(50):
        event_id = UUID(int=number * 2**120 + 7 * number)
        assert await connection.fetchval("SELECT ledger.erasure_id_v1($1)", event_id) == erasure_id(event_id)
    await connection.close()
    assert (erasure_id(event_id).version, erasure_id(event_id).variant) == (8, "specified in RFC 4122")


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
