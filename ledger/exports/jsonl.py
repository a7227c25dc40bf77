"""jsonl: one event per line, complete, and a line back into the event.

    {"position":1,"version":1,"event_id":"…","event_type":"run.started","tenant_id":"acme","run_id":"run-1",
     "step_id":null,…,"erased":false,"salt":"…","payload_commitment":"…","payload":{…}}

`payload` is the stored text itself. Where that is not what orjson makes of its value again (an application's
bytes may be anything), `payload_base64` stands in its place: the bytes come back exactly, and
sha256("daicho:payload:v1" || 0 || salt || bytes) is the commitment.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID

import orjson

from ledger.contract.names import TenantId
from ledger.errors import ArchiveDamaged
from ledger.exports.rows import StoredEvent, line_of, said, utc

_KEYS = {
    "position", "version", "event_id", "event_type", "tenant_id", "run_id", "step_id", "attempt", "timestamp",
    "recorded_at", "actor", "traceparent", "schema_version", "erased", "salt", "payload_commitment",
}  # fmt: skip


class JsonLines:
    def __init__(self, file: BinaryIO, tenant_id: str) -> None:
        self._file = file
        self._tenant_id = tenant_id

    def add(self, events: Sequence[StoredEvent]) -> None:
        self._file.write(b"".join([line(self._tenant_id, event) for event in events]))

    def close(self) -> None:
        """Every line stands by itself."""


def line(tenant_id: str, event: StoredEvent) -> bytes:
    told = said(tenant_id, event)
    told["timestamp"], told["recorded_at"] = utc(event.occurred_at), utc(event.recorded_at)
    told["salt"] = None if event.salt is None else event.salt.hex()
    told["payload_commitment"] = event.payload_commitment.hex()
    data = event.payload
    if data is None:
        return line_of({**told, "payload": None})
    if not _comes_back(data):
        return line_of({**told, "payload_base64": b64encode(data).decode()})
    return orjson.dumps(told)[:-1] + b',"payload":' + data + b"}\n"


def event_of(number: int, text: bytes) -> tuple[TenantId, StoredEvent]:
    """The event of line `number`, and whose it was. Raises ArchiveDamaged."""
    try:
        told = orjson.loads(text)
        if not isinstance(told, dict) or told.keys() - {"payload", "payload_base64"} != _KEYS:
            raise ValueError("it has not the keys of an event")
        return told["tenant_id"], _event(told)
    except (ValueError, TypeError, KeyError, OverflowError, Base64Error) as problem:
        raise ArchiveDamaged(
            f"Line {number} cannot be read: {problem}",
            expected="an event as `daicho export --format jsonl` writes it",
            fix="Use the file as it was exported; nothing was imported",
        ) from None


def _event(told: dict[str, Any]) -> StoredEvent:
    salt = told["salt"]
    return StoredEvent(
        position=_integer(told["position"]),
        version=_integer(told["version"]),
        recorded_at=_time(told["recorded_at"]),
        occurred_at=_time(told["timestamp"]),
        event_id=UUID(told["event_id"]),
        attempt=None if told["attempt"] is None else _integer(told["attempt"]),
        schema_version=_integer(told["schema_version"]),
        stream_id=_text(told["run_id"]),
        event_type=_text(told["event_type"]),
        step_id=None if told["step_id"] is None else _text(told["step_id"]),
        actor=None if told["actor"] is None else _text(told["actor"]),
        traceparent=None if told["traceparent"] is None else _text(told["traceparent"]),
        payload=None if told["erased"] else _payload(told),
        salt=None if salt is None else bytes.fromhex(salt),
        payload_commitment=bytes.fromhex(told["payload_commitment"]),
    )


def _payload(told: dict[str, Any]) -> bytes:
    if "payload_base64" in told:
        return b64decode(told["payload_base64"], validate=True)
    return orjson.dumps(told["payload"], option=orjson.OPT_SORT_KEYS)


def _comes_back(data: bytes) -> bool:
    try:
        return orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS) == data
    except ValueError:
        return False


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is no such number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(f"{value!r} is not text")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return time
