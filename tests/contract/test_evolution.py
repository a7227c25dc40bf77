"""Payload shapes change; what was recorded in any released version stays readable, byte for byte."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ledger import Event, EventType, RecordedEvent
from ledger.contract.events import PAYLOAD_MODELS
from ledger.contract.evolution import SCHEMA_VERSIONS, UPCASTERS, PayloadTooNew, upcast

RELEASED = Path(__file__).parent / "released"
VERSIONS = [(kind, version) for kind in EventType for version in range(1, SCHEMA_VERSIONS[kind] + 1)]


def recorded(kind: EventType, version: int, data: bytes | None) -> RecordedEvent:
    now = datetime.now(UTC)
    return RecordedEvent(
        1, 1, now, uuid4(), kind, "acme", "run-1", "draft", 1, now, None, None, version, data
    )


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_bytes_of_every_released_version_read_in_the_present_shape(kind: EventType, version: int) -> None:
    data = (RELEASED / f"{kind.value}.v{version}.json").read_bytes()
    event = recorded(kind, version, data)
    payload = event.payload
    assert payload is not None
    model = PAYLOAD_MODELS[kind].model_validate(payload)
    assert not model.model_extra, "the present shape knows every key that was ever written"
    assert event.data == data, "reading changes no stored byte"


def test_every_step_between_versions_has_an_upcaster() -> None:
    steps = {(kind, version) for kind, version in VERSIONS if version < SCHEMA_VERSIONS[kind]}
    assert steps == set(UPCASTERS)


def test_an_old_payload_goes_through_every_step_in_order() -> None:
    kind = EventType.RUN_CANCELLED
    versions = {**SCHEMA_VERSIONS, kind: 3}

    def named_by(payload: dict[str, Any]) -> dict[str, Any]:
        payload["by"] = payload.pop("who")
        return payload

    upcasters = {
        (kind, 1): named_by,
        (kind, 2): lambda payload: {**payload, "reason": payload["by"] + " said so"},
    }
    given = {"who": "ada"}
    assert upcast(kind, 1, dict(given), versions=versions, upcasters=upcasters) == {
        "by": "ada",
        "reason": "ada said so",
    }
    assert upcast(kind, 3, dict(given), versions=versions, upcasters=upcasters) == given


def test_a_payload_of_a_newer_daicho_is_refused_by_name() -> None:
    event = recorded(EventType.RUN_CANCELLED, 9, b"{}")
    with pytest.raises(PayloadTooNew, match="schema version 9"):
        _ = event.payload


def test_events_are_written_in_the_present_version_only() -> None:
    assert Event(event_type="run.cancelled", run_id="r", tenant_id="acme").schema_version == 1
    with pytest.raises(ValueError, match="older ones are only read"):
        Event(event_type="run.cancelled", run_id="r", tenant_id="acme", schema_version=2)
