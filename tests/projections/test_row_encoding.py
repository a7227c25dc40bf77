"""Row encoding: whatever the values, the bytes are those that PostgreSQL's binary format says."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import orjson
from hypothesis import given
from hypothesis import strategies as st

from projections.copy_format import encoder_of, record_encoder_of
from projections.rows import Json, Row, to_record

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(slots=True, eq=False)
class EveryKind(Row):
    TABLE: ClassVar[str] = "every_kind"
    KEY: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str
    count: int
    text: str | None
    number: int | None
    is_so: bool
    may_be_so: bool | None
    share: float
    ratio: float | None
    at: datetime
    ended_at: datetime | None
    details: Json
    more: Json | None


@dataclass(slots=True, eq=False)
class OneColumn(Row):
    TABLE: ClassVar[str] = "one_column"
    KEY: ClassVar[tuple[str, ...]] = ("run_id",)

    run_id: str


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
integers = st.one_of(st.integers(-3, 1_030), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.sampled_from([0.0, -0.0, 1.0]), st.floats())
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.booleans() | numbers | texts,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
rows = st.builds(
    EveryKind,
    texts,
    integers,
    st.none() | texts,
    st.none() | integers,
    st.booleans(),
    st.none() | st.booleans(),
    floats,
    st.none() | floats,
    times,
    st.none() | times,
    json,
    st.none() | json,
)


def _field(value: Any) -> bytes:
    if value is None:
        return struct.pack(">i", -1)
    if isinstance(value, str):
        data = value.encode()
    elif isinstance(value, bool):
        data = struct.pack(">?", value)
    elif isinstance(value, int):
        data = struct.pack(">q", value)
    elif isinstance(value, float):
        data = struct.pack(">d", value)
    else:
        since: timedelta = value - EPOCH
        data = struct.pack(">q", (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
    return struct.pack(">i", len(data)) + data


@given(st.lists(rows, min_size=1, max_size=5))
def test_a_row_of_any_values_is_its_columns_one_after_the_other(some: list[EveryKind]) -> None:
    # Some at a time, because an encoder remembers what it has written.
    for row in some:
        record = to_record(row)
        expected = struct.pack(">h", len(record)) + b"".join(map(_field, record))
        assert encoder_of(EveryKind)(row) == expected
        assert record_encoder_of(EveryKind)(record) == expected


def test_json_is_written_with_its_keys_in_order() -> None:
    details = {"b": 1, "a": {"d": 2, "c": 3}}
    row = EveryKind("r", 1, None, None, True, None, 0.5, None, EPOCH, None, details, None)
    written = encoder_of(EveryKind)(row)
    assert orjson.dumps({"a": {"c": 3, "d": 2}, "b": 1}) in written


def test_many_more_values_than_are_remembered_are_written_as_they_are() -> None:
    encode = encoder_of(OneColumn)
    for name in [*map(str, range(10_000)), *map(str, range(10_000))]:
        assert encode(OneColumn(name)) == b"\x00\x01" + _field(name)


def test_a_table_of_one_column_is_written_too() -> None:
    assert encoder_of(OneColumn)(OneColumn("é")) == b"\x00\x01\x00\x00\x00\x02\xc3\xa9"
    assert record_encoder_of(OneColumn)(("é",)) == b"\x00\x01\x00\x00\x00\x02\xc3\xa9"
