"""Row encoding: the functions that write rows as tuples of COPY's binary format (copy_format.py).

They are generated, one per row class, as dataclasses generate their methods: an attempt has 37 columns, most
of them empty or small, and calling something for each takes longer than what is to be done for it. For a
class of two columns, a text and a JSON value, a row's is

    def encode(row):
        value_1 = row.details
        if value_1 is None:
            length_1, text_1 = NULL, b''
        else:
            text_1 = json(value_1, None, SORTED)
            length_1 = length(len(text_1))
        return join((HEAD, texts[row.run_id], length_1, text_1))
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from types import NoneType
from typing import Any

import orjson

from projections.rows import Json, Row, columns, kinds_of

_NULL = b"\xff\xff\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_REMEMBERED_MAX = 4_096
_TEXT_REMEMBERED_MAX = 40  # characters: longer ones (paths, digests) are seldom met again
_SMALL_MAX = 1_024

_length = Struct(">i").pack
_int8 = Struct(">iq").pack


class _Texts(dict[str | None, bytes]):
    """The bytes of short texts, most of which stand in thousands of rows: looking one up takes a fifth of
    the time of writing it."""

    def __missing__(self, value: str | None) -> bytes:
        if value is None:
            return _remembered(self, value, _NULL)
        encoded = value.encode()
        made = _length(len(encoded)) + encoded
        return made if len(encoded) > _TEXT_REMEMBERED_MAX else _remembered(self, value, made)


class _Times(dict[datetime | None, bytes]):
    """An attempt, its step and its run often share a time."""

    def __missing__(self, value: datetime | None) -> bytes:
        made = _NULL if value is None else _int8(8, (value - _EPOCH) // _MICROSECOND)
        return _remembered(self, value, made)


def _remembered(known: dict[Any, bytes], value: Any, made: bytes) -> bytes:
    if len(known) >= _REMEMBERED_MAX:
        known.clear()
    known[value] = made
    return made


_KNOWN = {
    "join": b"".join,
    "length": _length,
    "int8": _int8,
    "float8": Struct(">id").pack,
    "NULL": _NULL,
    "BOOL": {None: _NULL, False: b"\x00\x00\x00\x01\x00", True: b"\x00\x00\x00\x01\x01"},
    "SMALL": tuple(_int8(8, value) for value in range(_SMALL_MAX)),
    "SORTED": orjson.OPT_SORT_KEYS,
}
"""What generated functions name. Floats are not remembered: 0.0 and -0.0 are one key of a dict and two rows
of a table."""


def row_encoder(row_type: type[Row]) -> Callable[[Any], bytes]:
    """Of rows of the class."""
    values = [f"row.{name}" for name in columns(row_type)]
    return _made(row_type, [], values, json=orjson.dumps)


def record_encoder(row_type: type[Row]) -> Callable[[Any], bytes]:
    """Of rows as the database gives them: columns in order, JSON as the text that is stored."""
    values = [f"column_{number}" for number in range(len(columns(row_type)))]
    unpacked = f"({', '.join(values)},) = row"
    return _made(row_type, [unpacked], values, json=lambda text, *_: text.encode())


def _made(
    row_type: type[Row], lines: list[str], values: Sequence[str], json: Callable[..., bytes]
) -> Callable[[Any], bytes]:
    parts = ["HEAD"]
    annotations = columns(row_type).values()
    for number, (value, annotation) in enumerate(zip(values, annotations, strict=True)):
        kinds = kinds_of(annotation)
        if Json in kinds:
            lines += _json_lines(number, value)
            parts += [f"length_{number}", f"text_{number}"]
        else:
            parts.append(_expression(kinds, value))
    body = "".join(f"    {line}\n" for line in [*lines, f"return join(({', '.join(parts)}))"])
    head = Struct(">h").pack(len(values))
    namespace = {**_KNOWN, "HEAD": head, "texts": _Texts(), "times": _Times(), "json": json}
    exec(f"def encode(row):\n{body}", namespace)  # noqa: S102 - of nothing but the names of fields
    encode: Callable[[Any], bytes] = namespace["encode"]  # type: ignore[assignment]
    return encode


def _json_lines(number: int, value: str) -> list[str]:
    return [
        f"value_{number} = {value}",
        f"if value_{number} is None:",
        f"    length_{number}, text_{number} = NULL, b''",
        "else:",
        f"    text_{number} = json(value_{number}, None, SORTED)",
        f"    length_{number} = length(len(text_{number}))",
    ]


def _expression(kinds: frozenset[Any], value: str) -> str:
    if str in kinds:
        return f"texts[{value}]"
    if datetime in kinds:
        return f"times[{value}]"
    if bool in kinds:
        return f"BOOL[{value}]"
    if float in kinds:
        return f"(NULL if (v := {value}) is None else float8(8, v))"
    unless_null = f"NULL if (v := {value}) is None else " if NoneType in kinds else ""
    read = "v" if unless_null else f"(v := {value})"
    return f"({unless_null}SMALL[v] if 0 <= {read} < {_SMALL_MAX} else int8(8, v))"
