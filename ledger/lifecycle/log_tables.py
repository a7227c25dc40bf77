"""Rows of the log's tables to lines of JSON and back. Every column keeps its exact value."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from ledger.errors import ArchiveDamaged

Convert = Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _base64(value: Any) -> bytes:
    return b64decode(_text(value), validate=True)


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return time.astimezone(UTC)


_WRITE: Mapping[str, Convert] = {
    "text": lambda value: value,
    "integer": lambda value: value,
    "uuid": str,
    "time": lambda value: value.astimezone(UTC).isoformat(),
    "base64": lambda value: b64encode(value).decode(),
    "hex": lambda value: value.hex(),
}
_READ: Mapping[str, Convert] = {
    "text": _text,
    "integer": _integer,
    "uuid": lambda value: UUID(_text(value)),
    "time": _time,
    "base64": _base64,
    "hex": lambda value: bytes.fromhex(_text(value)),
}


@dataclass(frozen=True)
class LogTable:
    """A table of the schema `ledger`: its columns with how each is written, those that may be NULL, and what
    it is ordered by."""

    name: str
    columns: Mapping[str, str]
    nullable: frozenset[str]
    key: tuple[str, ...]

    def line(self, row: Sequence[Any]) -> bytes:
        """One line of JSON, with its end, of a row whose values stand in the order of `columns`."""
        values = {
            name: None if value is None else _WRITE[kind](value)
            for (name, kind), value in zip(self.columns.items(), row, strict=True)
        }
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)

    def row(self, line: bytes) -> tuple[Any, ...]:
        """The row that `line` was written from. Raises ArchiveDamaged, also for a column too many."""
        try:
            values = orjson.loads(line)
            if not isinstance(values, dict) or values.keys() != self.columns.keys():
                raise ValueError(f"the keys are not the columns of ledger.{self.name}")
            return tuple(self._value(name, kind, values[name]) for name, kind in self.columns.items())
        except (ValueError, TypeError, OverflowError, Base64Error) as problem:
            raise ArchiveDamaged(
                f"A line of {self.name} cannot be read: {problem}",
                expected=f"a JSON object with the columns of ledger.{self.name}",
                fix="Use the archive as it was exported; nothing of this line was written",
            ) from None

    def _value(self, name: str, kind: str, value: Any) -> Any:
        if value is None and name in self.nullable:
            return None
        return _READ[kind](value)


EVENTS = LogTable(
    "events",
    {
        "position": "integer",
        "version": "integer",
        "recorded_at": "time",
        "occurred_at": "time",
        "event_id": "uuid",
        "attempt": "integer",
        "schema_version": "integer",
        "stream_id": "text",
        "event_type": "text",
        "step_id": "text",
        "actor": "text",
        "traceparent": "text",
        "payload": "base64",
        "salt": "base64",
        "payload_commitment": "hex",
    },
    frozenset({"attempt", "step_id", "actor", "traceparent", "payload", "salt"}),
    ("position",),
)
SNAPSHOTS = LogTable(
    "snapshots",
    {"stream_id": "text", "version": "integer", "topic": "text", "state": "base64", "recorded_at": "time"},
    frozenset(),
    ("stream_id", "version"),
)
TRACKING = LogTable(
    "tracking",
    {"application": "text", "upstream": "text", "notification_id": "integer", "recorded_at": "time"},
    frozenset(),
    ("application", "upstream"),
)
LOG_TABLES = (EVENTS, SNAPSHOTS, TRACKING)
