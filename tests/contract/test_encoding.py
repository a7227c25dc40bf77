"""Any valid event survives encoding and decoding byte for byte, in Python and through the database."""

from datetime import UTC

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Event, EventType, Tenant
from ledger.store.codec import decode_payload, encode_payload
from tests.contract.strategies import event_of, events, longest_names, payload_of, tenant_ids

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("event_type", EventType)
def test_any_valid_event_survives_encode_decode_encode_byte_for_byte(event_type: EventType) -> None:
    @MANY
    @given(event_of(event_type))
    def holds(event: Event) -> None:
        data = encode_payload(event)
        again = event.model_copy(update={"payload": decode_payload(data)})
        assert encode_payload(again) == data

    holds()


@MANY
@given(st.sampled_from(EventType).flatmap(payload_of), st.randoms())
def test_equal_payloads_are_equal_bytes_whatever_the_order_of_their_keys(payload, random) -> None:
    def dump(value: dict[str, object]) -> bytes:
        event = Event(event_type="run.cancelled", tenant_id="t", run_id="r", payload={"x-nested": value})
        return encode_payload(event)

    keys = list(payload)
    random.shuffle(keys)
    assert dump({key: payload[key] for key in keys}) == dump(payload)


@MANY
@given(events())
def test_unknown_keys_stay_in_the_bytes(event: Event) -> None:
    decoded = decode_payload(encode_payload(event))
    assert set(event.payload) == set(decoded)


@MANY
@given(tenant_ids, longest_names)
def test_every_allowed_tenant_id_and_name_length_makes_an_event(tenant_id: str, name: str) -> None:
    event = Event(event_type="step.started", tenant_id=tenant_id, run_id=name, step_id=name)
    assert (event.tenant_id, event.run_id) == (tenant_id, name)


def can_be_emitted(kind: EventType) -> bool:
    """An erasure records itself; packs are decided."""
    return not kind.is_decided and kind is not EventType.PAYLOAD_ERASED


async def test_what_read_returns_has_exactly_the_emitted_bytes(tenant: Tenant) -> None:
    drawn: list[Event] = []

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    # An erasure is recorded by the function that erases, and by nothing else.
    @given(events(tenant.tenant_id, only=can_be_emitted))
    def collect(event: Event) -> None:
        drawn.append(event)

    collect()
    emitted = list({event.event_id: event for event in drawn}.values())
    recorded = await tenant.emitter.emit_many(emitted)

    assert await tenant.store.read(0, 1000) == recorded
    for event, stored in zip(emitted, recorded, strict=True):
        assert stored.data == encode_payload(event)
        assert stored.payload == orjson.loads(encode_payload(event))
        assert stored.timestamp == event.timestamp
        assert stored.timestamp.tzinfo is UTC
        assert stored.event_id == event.event_id
        assert stored.event_type is event.event_type
        assert (stored.run_id, stored.step_id, stored.attempt) == (event.run_id, event.step_id, event.attempt)
        assert (stored.actor, stored.traceparent) == (event.actor, event.traceparent)
