"""Rows in PostgreSQL's binary COPY format, written by hand: what a rebuild copies in, and the bytes by
which rows are compared and counted into digests. Equal rows are equal bytes.

    file   signature, flags (4 bytes), length of the extension (4 bytes), tuples, trailer
    tuple  number of columns (int16), then per column its length (int32; -1 for NULL) and its bytes

Integers are int8, floats float8, times microseconds since 2000-01-01 UTC (int8), JSON its canonical text;
all numbers big-endian. Source: PostgreSQL documentation, COPY, Binary Format.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter, call
from struct import Struct
from typing import Any

import orjson

from projections.rows import Json, Row, columns, kinds_of

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

Encoder = Callable[[Row], bytes]

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


def encoder_of(row_type: type[Row]) -> Encoder:
    """The function that writes a row of this class as one tuple."""
    made = _encoders.get(row_type)
    if made is None:
        made = _encoders[row_type] = _encoder(row_type)
    return made


def _encoder(row_type: type[Row]) -> Encoder:
    named = columns(row_type)
    head = Struct(">h").pack(len(named))
    fields = [_field(kinds_of(annotation)) for annotation in named.values()]
    if len(named) == 1:
        [name], [field] = named, fields
        return lambda row: head + field(getattr(row, name))
    values = attrgetter(*named)
    join = b"".join
    return lambda row: head + join(map(call, fields, values(row)))


def _field(kinds: frozenset[Any]) -> Callable[[Any], bytes]:
    if str in kinds:
        return _Texts().__getitem__
    if Json in kinds:
        return _json
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
