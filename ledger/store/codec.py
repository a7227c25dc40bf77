"""Codec: a payload dict to its exact bytes and back.

The bytes are JSON (RFC 8259) as orjson writes it with sorted keys, so that equal payloads are
equal bytes. They are stored, hashed and compared as they are, never serialised again.
"""

import math
from enum import Enum
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from ledger.contract.events import PAYLOAD_MODELS, Event, RecordedEvent
from ledger.errors import InvalidEvent
from ledger.store.checking import checker

PAYLOAD_BYTES_MAX = 64 * 1024
_CHECKERS = {event_type: checker(model) for event_type, model in PAYLOAD_MODELS.items()}
_TIMES = frozenset({"created_at", "occurred_at", "checked_at", "last_seen"})
# A dataclass is not a JSON value: what orjson would make of one, nobody has checked.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def encode_payload(event: Event) -> bytes:
    """The bytes to store. Raises InvalidEvent where the payload is not what its type says, holds
    NaN, infinity, a lone surrogate or U+0000, or is over 64 KiB."""
    data = _dump(event)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise InvalidEvent(
            f"The payload of {event.event_type.value} is too large",
            expected=f"at most {PAYLOAD_BYTES_MAX} bytes of JSON",
            found=f"{len(data)} bytes",
            fix="Store the body as an artifact and put its reference into the payload",
        )
    # NaN and infinity come out of orjson as null, so only a payload with a null can hold one;
    # U+0000 comes out as this escape. The walk that finds them is seldom needed.
    if b"null" in data or b"\\u0000" in data:
        _refuse_unstorable(event, event.payload, "payload")
    try:
        _CHECKERS[event.event_type](data)
    except ValidationError as error:
        raise _invalid(event, error) from None
    return data


def decode_payload(data: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = orjson.loads(data)
    return decoded


def says_the_same(recorded: RecordedEvent, event: Event) -> bool:
    """Whether `event` differs from what is recorded in nothing but times: an attempt that is executed
    a second time makes the same artifacts and fails the same way, only later."""
    if recorded.payload is None:
        return False
    ours = (event.event_type, event.run_id, event.step_id, event.attempt, event.schema_version)
    theirs = (
        recorded.event_type, recorded.run_id, recorded.step_id, recorded.attempt, recorded.schema_version,
    )  # fmt: skip
    return ours == theirs and _timeless(decode_payload(encode_payload(event))) == _timeless(recorded.payload)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


def _dump(event: Event) -> bytes:
    try:
        return orjson.dumps(event.payload, default=_to_json, option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        raise InvalidEvent(
            f"The payload of {event.event_type.value} cannot be written as JSON: {error}",
            expected="text without lone surrogates, 64-bit integers, lists and string-keyed dicts",
            fix="Correct the payload",
        ) from None


def _to_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _refuse_unstorable(event: Event, value: Any, where: str) -> None:
    if isinstance(value, Enum):
        value = value.value  # which is what orjson writes
    if isinstance(value, float) and not math.isfinite(value):
        raise _unstorable(event, where, "a finite number (JSON knows no NaN and no infinity)", repr(value))
    if isinstance(value, str) and "\x00" in value:
        raise _unstorable(event, where, "text without U+0000 (PostgreSQL's json refuses it)", "U+0000")
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(event, key, where)
            _refuse_unstorable(event, item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_unstorable(event, item, f"{where}[{index}]")


def _unstorable(event: Event, where: str, expected: str, found: str) -> InvalidEvent:
    return InvalidEvent(
        f"{where} of {event.event_type.value} cannot be stored",
        expected=expected,
        found=found,
        fix="Correct the payload",
    )


def _invalid(event: Event, error: ValidationError) -> InvalidEvent:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "payload"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return InvalidEvent(
        f"The payload of {event.event_type.value} is not valid: {where}: {first['msg']}{more}",
        expected=f"the fields of {PAYLOAD_MODELS[event.event_type].__name__}",
        fix="Correct the payload",
    )
