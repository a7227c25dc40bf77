"""Rows in PostgreSQL's binary COPY format, written by hand: what a rebuild copies in, and the bytes by
which rows are compared and counted into digests. Equal rows are equal bytes.

    file   signature, flags (4 bytes), length of the extension (4 bytes), tuples, trailer
    tuple  number of columns (int16), then per column its length (int32; -1 for NULL) and its bytes

Integers are int8, floats float8, times microseconds since 2000-01-01 UTC (int8), JSON its canonical text;
all numbers big-endian. Source: PostgreSQL documentation, COPY, Binary Format.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from operator import attrgetter, call
from struct import Struct
from typing import Any

import orjson

from projections.rows import Json, Row, columns, kinds_of

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

Encoder = Callable[[Row], bytes]
RecordEncoder = Callable[[Iterable[Any]], bytes]
Field = Callable[[Any], bytes]

_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_REMEMBERED_MAX = 4_096
_TEXT_REMEMBERED_MAX = 40  # characters: longer ones (paths, digests) are seldom met again
_SMALL_MAX = 1_024

_length = Struct(">i").pack
_int8 = Struct(">iq").pack
_float8 = Struct(">id").pack
_BOOL = {None: _NULL, False: b"\x00\x00\x00\x01\x00", True: b"\x00\x00\x00\x01\x01"}


_encoders: dict[type[Row], Encoder] = {}
_record_encoders: dict[type[Row], RecordEncoder] = {}


def encoder_of(row_type: type[Row]) -> Encoder:
    """The function that writes a row of this class as one tuple."""
    if row_type not in _encoders:
        _encoders[row_type] = _encoder(row_type)
    return _encoders[row_type]


def record_encoder_of(row_type: type[Row]) -> RecordEncoder:
    """The same for a row as the database gives it: its columns in order, JSON as the text that is stored."""
    if row_type not in _record_encoders:
        _record_encoders[row_type] = _record_encoder(row_type)
    return _record_encoders[row_type]


def _encoder(row_type: type[Row]) -> Encoder:
    named = columns(row_type)
    head, fields = _head(row_type), _fields(row_type, _json)
    if len(named) == 1:
        [name], [field] = named, fields
        return lambda row: head + field(getattr(row, name))
    values = attrgetter(*named)
    join = b"".join
    return lambda row: head + join(map(call, fields, values(row)))


def _record_encoder(row_type: type[Row]) -> RecordEncoder:
    head, fields = _head(row_type), _fields(row_type, _Texts().__getitem__)
    return lambda record: head + b"".join(map(call, fields, record))


def _head(row_type: type[Row]) -> bytes:
    return Struct(">h").pack(len(columns(row_type)))


def _fields(row_type: type[Row], json: Field) -> list[Field]:
    return [_field(kinds_of(annotation), json) for annotation in columns(row_type).values()]


def _field(kinds: frozenset[Any], json: Field) -> Field:
    if str in kinds:
        return _Texts().__getitem__
    if Json in kinds:
        return json
    if datetime in kinds:
        return _Times().__getitem__
    if bool in kinds:
        return _BOOL.__getitem__
    if float in kinds:
        return _float
    return _Integers().__getitem__


class _Texts(dict[str | None, bytes]):
    """The bytes of short texts, most of which stand in thousands of rows: looking one up takes a fifth of
    the time of writing it."""

    def __missing__(self, value: str | None) -> bytes:
        if value is None:
            made = _NULL
        else:
            encoded = value.encode()
            made = _length(len(encoded)) + encoded
            if len(encoded) > _TEXT_REMEMBERED_MAX:
                return made
        _remember(self, value, made)
        return made


class _Times(dict[datetime | None, bytes]):
    """An attempt, its step and its run often share a time."""

    def __missing__(self, value: datetime | None) -> bytes:
        made = _NULL if value is None else _int8(8, _microseconds(value))
        _remember(self, value, made)
        return made


class _Integers(dict[int | None, bytes]):
    """Counts are small and remembered; positions are not."""

    def __missing__(self, value: int | None) -> bytes:
        if value is None:
            made = _NULL
        else:
            made = _int8(8, value)
            if value >= _SMALL_MAX:
                return made
        _remember(self, value, made)
        return made


def _remember(known: dict[Any, bytes], value: Any, made: bytes) -> None:
    if len(known) >= _REMEMBERED_MAX:
        known.clear()
    known[value] = made


def _microseconds(value: datetime) -> int:
    since = value - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _float(value: float | None) -> bytes:
    # Not remembered: 0.0 and -0.0 are one key of a dict and two rows of a table.
    return _NULL if value is None else _float8(8, value)


def _json(value: Any) -> bytes:
    if value is None:
        return _NULL
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return _length(len(text)) + text
