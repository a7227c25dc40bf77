"""jsonl: one event per line, complete, and a line back into the event.

    {"position":1,"version":1,"event_id":"…","event_type":"run.started","tenant_id":"acme","run_id":"run-1",
     "step_id":null,…,"erased":false,"upto":26,"salt":"…","payload_commitment":"…","payload":{…},"line_sha256":"…"}

`payload` is the stored text itself. Where that is not what orjson makes of its value again (an application's
bytes may be anything), `payload_base64` stands in its place: the bytes come back exactly, and
sha256("daicho:payload:v1" || 0 || salt || bytes) is the commitment.

`upto` is the position that the export goes up to, in every line, so that a file without its end is known by
any of them. `line_sha256` is of the line's bytes before `,"line_sha256"`: a line that was changed by accident
is found, whichever part of it. Neither keeps out who means to forge: whoever can write a line can hash it.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

import orjson

from ledger.contract.names import TenantId, shown
from ledger.contract.times import rfc3339
from ledger.errors import ArchiveDamaged
from ledger.exports.rows import StoredEvent, said
from ledger.store.codec import PAYLOAD_BYTES_MAX

_KEYS = {
    "position", "version", "event_id", "event_type", "tenant_id", "run_id", "step_id", "attempt", "timestamp",
    "recorded_at", "actor", "traceparent", "schema_version", "erased", "upto", "salt",
    "payload_commitment", "line_sha256",
}  # fmt: skip
_SEAL = b',"line_sha256":"%s"}\n'
_SEAL_BYTES = len(_SEAL % (b"0" * 64))


class JsonLines:
    def __init__(self, file: BinaryIO, tenant_id: str, upto: int) -> None:
        self._file = file
        self._tenant_id = tenant_id
        self._upto = upto

    def add(self, events: Sequence[StoredEvent]) -> None:
        self._file.write(b"".join([line(self._tenant_id, event, self._upto) for event in events]))

    def close(self) -> None:
        """Every line stands by itself."""


class Line(NamedTuple):
    """A line read back: whose event it is, and up to which position the file goes."""

    tenant_id: TenantId
    upto: int
    event: StoredEvent


def line(tenant_id: str, event: StoredEvent, upto: int) -> bytes:
    told = said(tenant_id, event)
    told["timestamp"], told["recorded_at"] = rfc3339(event.occurred_at), rfc3339(event.recorded_at)
    told["upto"] = upto
    told["salt"] = None if event.salt is None else event.salt.hex()
    told["payload_commitment"] = event.payload_commitment.hex()
    data = event.payload
    if data is None or _comes_back(data):
        text = orjson.dumps(told)[:-1] + b',"payload":' + (b"null" if data is None else data)
    else:
        text = orjson.dumps({**told, "payload_base64": b64encode(data).decode()})[:-1]
    return text + _SEAL % sha256(text).hexdigest().encode()


def line_of_text(number: int, text: bytes) -> Line:
    """Line `number` as it stands in the file, read back. Raises ArchiveDamaged."""
    try:
        told = _json(text)
        if not isinstance(told, dict) or told.keys() - {"payload", "payload_base64"} != _KEYS:
            raise ValueError("it has not the keys of an event")
        if text[-_SEAL_BYTES:] != _SEAL % sha256(text[:-_SEAL_BYTES]).hexdigest().encode():
            raise ValueError("its line_sha256 is of other bytes, so it was changed since")
        return Line(_text(told["tenant_id"]), _integer(told["upto"]), _event(told))
    except (ValueError, TypeError, KeyError, OverflowError, Base64Error) as problem:
        raise ArchiveDamaged(
            f"Line {number} cannot be used: {problem}",
            expected="an event as `daicho export --format jsonl` writes it",
            fix="Use the file as it was exported; nothing was imported",
        ) from None


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None


def _event(told: dict[str, Any]) -> StoredEvent:
    erased, salt, attempt = told["erased"], told["salt"], told["attempt"]
    if erased is not (salt is None):
        raise ValueError("an event has a salt, unless it is erased")
    return StoredEvent(
        position=_integer(told["position"]),
        version=_integer(told["version"]),
        recorded_at=_time(told["recorded_at"]),
        occurred_at=_time(told["timestamp"]),
        event_id=UUID(told["event_id"]),
        attempt=None if attempt is None else _integer(attempt, 1, 2**31),
        schema_version=_integer(told["schema_version"], 1, 2**15),
        stream_id=_name(told["run_id"]),
        event_type=_name(told["event_type"]),
        step_id=_text_or_none(told["step_id"]),
        actor=_text_or_none(told["actor"]),
        traceparent=_text_or_none(told["traceparent"]),
        payload=None if erased else _payload(told),
        salt=None if salt is None else _bytes(salt, 16),
        payload_commitment=_bytes(told["payload_commitment"], 32),
    )


def _payload(told: dict[str, Any]) -> bytes:
    if "payload_base64" in told:
        data = b64decode(told["payload_base64"], validate=True)
    else:
        data = orjson.dumps(told["payload"], option=orjson.OPT_SORT_KEYS)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"its payload has {len(data)} bytes, more than any event's")
    return data


def _comes_back(data: bytes) -> bool:
    try:
        return orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS) == data
    except ValueError:
        return False


def _integer(value: Any, lowest: int = 0, above: int = 2**63) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < above:
        raise ValueError(f"{value!r} is no such number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(f"{shown(value)} is not text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _name(value: Any) -> str:
    if not _text(value):
        raise ValueError("a run or a type has no name")
    return str(value)


def _bytes(value: Any, count: int) -> bytes:
    found = bytes.fromhex(_text(value))
    if len(found) != count:
        raise ValueError(f"{shown(value)} is not {count} bytes in hexadecimal")
    return found


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return time
