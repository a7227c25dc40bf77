"""What no payload may hold: a typed error at emit, and nothing is written."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from ledger import Event, StepError, Tenant
from ledger.errors import InvalidEvent
from ledger.store.codec import PAYLOAD_BYTES_MAX, encode_payload

NAN = float("nan")
NOW = datetime.now(UTC)
REF = {"path": "storage/t/r/s/o", "digest": "0" * 64, "size_bytes": 1, "created_at": NOW.isoformat()}
ERROR = {"step_id": "s", "category": "retryable", "message": "m", "occurred_at": NOW.isoformat()}


@dataclasses.dataclass
class Holder:
    value: Any


class Model(BaseModel):
    value: float


class Odd(Enum):
    NOT_A_NUMBER = NAN
    WITH_NUL = "a\x00b"


def nested(depth: int) -> dict[str, Any]:
    value: Any = "the bottom"
    for _ in range(depth):
        value = {"a": value}
    return {"a": value}


NOT_STORABLE: dict[str, Any] = {
    "NaN": {"a": NAN},
    "infinity": {"a": float("inf")},
    "minus infinity": {"a": {"b": [1, float("-inf")]}},
    "NaN in a tuple": {"a": (1, NAN)},
    "NaN in a model": {"a": Model(value=NAN)},
    "NaN in a dataclass": {"a": Holder(NAN)},
    "NaN in an enum": {"a": Odd.NOT_A_NUMBER},
    "NaN in the details of an error": {"a": StepError(**ERROR, details={"x": NAN})},
    "a lone surrogate": {"a": "\ud800"},
    "a lone surrogate in a key": {"\udfff": 1},
    "a lone surrogate deep inside": {"a": [{"b": "x\udc80"}]},
    "U+0000": {"a": "x\x00"},
    "U+0000 in a key": {"a": {"\x00": 1}},
    "U+0000 in a top-level key": {"\x00": 1},
    "U+0000 in a dataclass": {"a": Holder("\x00")},
    "U+0000 in an enum": {"a": Odd.WITH_NUL},
    "an integer over 64 bits": {"a": 2**64},
    "an integer under 64 bits": {"a": -(2**63) - 1},
    "bytes": {"a": b"x"},
    "a set": {"a": {1}},
    "a Decimal": {"a": Decimal("1.5")},
    "an object": {"a": object()},
    "a complex number": {"a": 1j},
    "a function": {"a": len},
    "a key that is a number": {"a": {1: 2}},
    "a key that is None": {"a": {None: 2}},
    "5,000 levels of nesting": nested(5_000),
    "250 levels of nesting": nested(250),
    "65 KiB": {"a": "x" * 65 * 1024},
    "65 KiB of many small things": {"a": [0] * 40_000},
}

WRONG_SHAPES: list[tuple[str, dict[str, Any], str]] = [
    ("run.started", {}, "prompt_pack"),
    ("run.started", {"prompt_pack": None}, "prompt_pack"),
    ("run.started", {"prompt_pack": {"pack_id": "p"}}, "version"),
    ("run.started", {"prompt_pack": {"pack_id": "", "version": 1, "digest": "d"}}, "pack_id"),
    ("run.started", {"prompt_pack": {"pack_id": "p", "version": 1.5, "digest": "d"}}, "version"),
    ("run.started", {"prompt_pack": {"pack_id": "p", "version": 1, "digest": "d"}, "config": []}, "config"),
    (
        "run.started",
        {"prompt_pack": {"pack_id": "p", "version": 1, "digest": "d"}, "config": {"body": "x" * 17_000}},
        "config",
    ),
    (
        "run.started",
        {"prompt_pack": {"pack_id": "p", "version": 1, "digest": "d"}, "labels": {"body": "x" * 17_000}},
        "labels",
    ),
    ("run.succeeded", {"outputs": {"o": "path"}}, "outputs"),
    ("run.succeeded", {"outputs": [REF]}, "outputs"),
    ("run.succeeded", {"summary": 7}, "summary"),
    ("run.failed", {}, "error"),
    ("run.failed", {"error": "it broke"}, "error"),
    ("run.failed", {"error": {**ERROR, "category": "perhaps"}}, "category"),
    ("run.failed", {"error": {**ERROR, "occurred_at": "2026-01-01T00:00:00"}}, "occurred_at"),
    ("run.cancelled", {"reason": 7}, "reason"),
    ("step.started", {"timeout_seconds": 0}, "timeout_seconds"),
    ("step.started", {"timeout_seconds": "3"}, "timeout_seconds"),
    ("step.started", {"inputs": REF}, "inputs"),
    ("step.started", {"engine": "temporal"}, "engine"),
    ("step.succeeded", {"outputs": {"o": {**REF, "digest": "AB" * 32}}}, "digest"),
    ("step.succeeded", {"outputs": {"o": {**REF, "size_bytes": -1}}}, "size_bytes"),
    ("step.succeeded", {"duration_ms": -1}, "duration_ms"),
    ("step.succeeded", {"duration_ms": True}, "duration_ms"),
    ("step.succeeded", {"usage": {"cost": 0.1}}, "cost"),
    ("step.succeeded", {"usage": {"cost": "free"}}, "cost"),
    ("step.succeeded", {"usage": {"input_tokens": "12"}}, "input_tokens"),
    ("step.succeeded", {"validation_reports": [{"validator": "v"}]}, "passed"),
    ("step.failed", {}, "error"),
    ("step.failed", {"error": ERROR, "will_retry": "yes"}, "will_retry"),
    ("step.retrying", {"previous_attempt": 0}, "previous_attempt"),
    ("step.lost", {"last_seen": "2026-01-01T00:00:00"}, "last_seen"),
    ("repair.applied", {"kind": "k", "before": REF}, "after"),
    ("repair.applied", {"kind": "", "before": REF, "after": REF}, "kind"),
    ("artifact.stored", {"ref": REF}, "name"),
    ("artifact.stored", {"name": "o"}, "ref"),
    ("artifact.stored", {"name": "o", "ref": "storage/t/r/s/o"}, "ref"),
]


def event(payload: dict[str, Any], event_type: str = "run.succeeded", tenant_id: str = "t") -> Event:
    return Event(event_type=event_type, tenant_id=tenant_id, run_id="r", step_id="s", payload=payload)


@pytest.mark.parametrize("payload", NOT_STORABLE.values(), ids=NOT_STORABLE.keys())
def test_a_payload_is_refused_that_holds(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent, match=r"Expected .*\. Correct|Expected .*artifact") as refusal:
        encode_payload(event(payload))
    assert "Retrying will not help" in str(refusal.value)
    assert len(str(refusal.value)) < 1_000


@pytest.mark.parametrize(
    ("event_type", "payload", "named"),
    WRONG_SHAPES,
    ids=[f"{kind}-{named}-{index}" for index, (kind, _, named) in enumerate(WRONG_SHAPES)],
)
def test_a_payload_of_the_wrong_shape_is_refused_by_the_name_of_its_field(
    event_type: str, payload: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidEvent, match=f"{event_type}.*{named}"):
        encode_payload(event(payload, event_type))


@pytest.mark.parametrize(
    "payload",
    [
        {"a": "backslash-u0000 as text: \\u0000"},
        {"a": "null", "b": None, "c": "NaN", "d": [None, 1.5]},
        {"a": 2**64 - 1, "b": -(2**63)},
        {"a": -0.0, "b": 5e-324, "c": 1.7976931348623157e308},
        {"a": "\u2028\U0001f4dc\ufffe"},
        nested(150),
        {"a": "x" * (PAYLOAD_BYTES_MAX - len('{"a":""}'))},
    ],
    ids=["u0000 as text", "null", "64 bits", "floats", "unicode", "150 levels", "64 KiB exactly"],
)
def test_a_payload_at_the_edge_is_accepted(payload: dict[str, Any]) -> None:
    assert encode_payload(event(payload))


def test_one_byte_over_64_kib_is_refused_and_told_to_become_an_artifact() -> None:
    payload = {"a": "x" * (PAYLOAD_BYTES_MAX - len('{"a":""}') + 1)}
    with pytest.raises(InvalidEvent, match=r"at most 65536 bytes.*65537 bytes.*artifact"):
        encode_payload(event(payload))


Emit = Callable[[Tenant, Event], Awaitable[Any]]
WAYS: dict[str, Emit] = {
    "emit": lambda tenant, refused: tenant.emitter.emit(refused),
    "emit_many": lambda tenant, refused: tenant.emitter.emit_many(
        [event({}, tenant_id=tenant.tenant_id), refused]
    ),
    "append": lambda tenant, refused: tenant.store.append([event({}, tenant_id=tenant.tenant_id), refused]),
}


@pytest.mark.parametrize("emit", WAYS.values(), ids=WAYS.keys())
async def test_of_a_refused_payload_nothing_is_written_not_even_its_group(tenant: Tenant, emit: Emit) -> None:
    for payload in NOT_STORABLE.values():
        with pytest.raises(InvalidEvent):
            await emit(tenant, event(payload, tenant_id=tenant.tenant_id))
    for event_type, payload, _ in WRONG_SHAPES:
        with pytest.raises(InvalidEvent):
            await emit(tenant, event(payload, event_type, tenant.tenant_id))
    assert await tenant.store.head() == 0
    assert await tenant.store.read() == []


async def test_a_null_byte_escape_as_text_comes_back_as_it_was(tenant: Tenant) -> None:
    payload = {"a": "\\u0000", "b": "null"}
    await tenant.emitter.emit(event(payload, tenant_id=tenant.tenant_id))
    [recorded] = await tenant.store.read()
    assert recorded.payload == payload
