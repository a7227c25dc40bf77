"""Erasing: what a payload said is gone from the log and from every table, that it was there and who
erased it stays; and no erasure without its record, no record without its erasure."""

import asyncio
import hashlib
from uuid import UUID

import pytest
from erasing import cancelled, superuser

from ledger import Event, EventType, Ledger, Tenant
from ledger.contract.erasure import erasure_id
from ledger.contract.payloads import PayloadErased
from ledger.errors import ErasureRefused, InvalidErasure, PositionNotReached
from ledger.store.codec import encode_payload
from ledger.store.tenant_database import Role


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
