"""Rows in PostgreSQL's binary COPY format, written by hand: what a rebuild copies in, and the bytes by
which rows are compared and counted into digests. Equal rows are equal bytes.

    file   signature, flags (4 bytes), length of the extension (4 bytes), tuples, trailer
    tuple  number of columns (int16), then per column its length (int32; -1 for NULL) and its bytes

Integers are int8, floats float8, times microseconds since 2000-01-01 UTC (int8), JSON its canonical text;
all numbers big-endian. Source: PostgreSQL documentation, COPY, Binary Format.
"""

from collections.abc import Callable, Iterable
from typing import Any

from projections.row_encoding import record_encoder, row_encoder
from projections.rows import Row

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

Encoder = Callable[[Row], bytes]
RecordEncoder = Callable[[Iterable[Any]], bytes]

_encoders: dict[type[Row], Encoder] = {}
_record_encoders: dict[type[Row], RecordEncoder] = {}


def encoder_of(row_type: type[Row]) -> Encoder:
    """The function that writes a row of this class as one tuple."""
    if row_type not in _encoders:
        _encoders[row_type] = row_encoder(row_type)
    return _encoders[row_type]


def record_encoder_of(row_type: type[Row]) -> RecordEncoder:
    """The same for a row as the database gives it: its columns in order, JSON as the text that is stored."""
    if row_type not in _record_encoders:
        _record_encoders[row_type] = record_encoder(row_type)
    return _record_encoders[row_type]
