"""Binary: values as PostgreSQL's binary format holds them (source: the receive functions in its
src/backend/utils/adt).

framed  a value after its length, as it stands in a message and in an array
array   dimensions (1), whether it holds NULL, the elements' type, how many, lower bound (1), framed elements
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

INT2, INT4, INT8, TEXT, BYTEA, TIMESTAMPTZ, UUIDS = 21, 23, 20, 25, 17, 1184, 2950
"""Types by their number in pg_type."""

NULL = b"\xff\xff\xff\xff"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
FRAMES_REMEMBERED_MAX = 10_000
_MICROSECOND = timedelta(microseconds=1)
_array_head = struct.Struct(">iiIii").pack
_int8_frame = struct.Struct(">iq").pack
_ARRAY_HEAD_BYTES = 20
_INT8_FRAME_BYTES = 12


class _TextFrames(dict[str | None, bytes]):
    """Most texts of events come again and again: types, steps, runs, actors."""

    def __missing__(self, text: str | None) -> bytes:
        if len(self) >= FRAMES_REMEMBERED_MAX:
            self.clear()
        self[text] = made = NULL if text is None else framed(text.encode())
        return made


_text_frames = _TextFrames()


def framed(value: bytes) -> bytes:
    return len(value).to_bytes(4) + value


def text(value: str | None) -> bytes:
    return _text_frames[value]


def int2(value: int) -> bytes:
    return b"\0\0\0\x02" + value.to_bytes(2, signed=True)


def int4(value: int | None) -> bytes:
    return NULL if value is None else b"\0\0\0\x04" + value.to_bytes(4, signed=True)


def int8(value: int | None) -> bytes:
    return NULL if value is None else _int8_frame(8, value)


def uuid(value: UUID) -> bytes:
    return b"\0\0\0\x10" + value.int.to_bytes(16)


def time(value: datetime) -> bytes:
    return _int8_frame(8, (value - EPOCH) // _MICROSECOND)


def texts(values: Sequence[str | None]) -> bytes:
    return array(TEXT, values, [_text_frames[value] for value in values])


def int2s(values: Sequence[int]) -> bytes:
    return array(INT2, values, [int2(value) for value in values])


def int4s(values: Sequence[int | None]) -> bytes:
    return array(INT4, values, [int4(value) for value in values])


def int8s(values: Sequence[int]) -> bytes:
    return array(INT8, values, [_int8_frame(8, value) for value in values])


def uuids(values: Sequence[UUID]) -> bytes:
    return array(UUIDS, values, [b"\0\0\0\x10" + value.int.to_bytes(16) for value in values])


def times(values: Sequence[datetime]) -> bytes:
    return array(TIMESTAMPTZ, values, [time(value) for value in values])


def byte_strings(values: Sequence[bytes]) -> bytes:
    return array(BYTEA, values, [part for value in values for part in (len(value).to_bytes(4), value)])


def array(of_type: int, values: Collection[object], frames: Iterable[bytes]) -> bytes:
    """Framed itself."""
    inside = b"".join(frames)
    head = _array_head(1, None in values, of_type, len(values), 1)
    return b"".join(((len(head) + len(inside)).to_bytes(4), head, inside))


def read_int8(data: bytes) -> int:
    return int.from_bytes(data, signed=True)


def read_time(data: bytes) -> datetime:
    return EPOCH + timedelta(microseconds=read_int8(data))


def read_int8s(data: bytes) -> list[int]:
    """An array without NULL."""
    return [value for _, value in struct.iter_unpack(">iq", data[_ARRAY_HEAD_BYTES:])]
