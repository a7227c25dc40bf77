"""TableDigest: one number for all rows of a table; what a rebuild records and a verification compares."""

import random
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from builder import History, error, ref, seconds

from projections.copy_format import encoder_of, record_encoder_of
from projections.digests import TableDigest
from projections.rows import (
    ROW_TYPES,
    AnomalyRow,
    Json,
    PromptRow,
    Row,
    RunRow,
    columns,
    kinds_of,
    to_record,
)


def encoded(row: Row) -> bytes:
    return encoder_of(type(row))(row)


def _digest(*rows: bytes) -> str:
    digest = TableDigest()
    digest.add(rows)
    return digest.hexdigest()


def _some_rows() -> list[Row]:
    folded = (
        History()
        .run_started(config={"a": 1}, inputs=[ref("in")])
        .step_started(inputs=[ref("in")], timeout_seconds=1.5, worker="w")
        .step_failed(error=error(), will_retry=True, retry_delay_ms=10)
        .step_started(attempt=5)
        .repaired(ref("x", "1"), ref("x", "2"))
        .folded()
    )
    rows = [row for kind in ROW_TYPES for row in folded.tables.rows[kind].values()]
    return [*rows, PromptRow("$prompt_packs/p", 1, "n", "p", "t", "d", seconds(0), "ann", None, 1)]


def test_an_empty_table_is_zero() -> None:
    assert _digest() == "0" * 64


def test_the_order_of_the_rows_does_not_matter() -> None:
    records = [encoded(row) for row in _some_rows()]
    expected = _digest(*records)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert _digest(*shuffled) == expected


def test_a_row_more_or_less_or_twice_is_another_digest() -> None:
    records = [encoded(row) for row in _some_rows()]
    assert len({_digest(*records), _digest(*records[1:]), _digest(*records, records[0]), _digest()}) == 4


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.TABLE)
def test_every_value_of_every_column_counts(kind: type[Row]) -> None:
    row = next(row for row in _some_rows() if type(row) is kind)
    record = to_record(row)
    encode = record_encoder_of(kind)
    seen = {_digest(encode(record))}
    for index, annotation in enumerate(columns(kind).values()):
        changed = (*record[:index], _another(record[index], kinds_of(annotation)), *record[index + 1 :])
        seen.add(_digest(encode(changed)))
    assert len(seen) == len(record) + 1


def _another(value: Any, kinds: frozenset[Any]) -> Any:
    if bool in kinds:
        return not value
    if value is None:
        return seconds(0) if datetime in kinds else "." if kinds & {str, Json} else 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    return f"{value}." if isinstance(value, str) else value + 1


def test_values_that_change_columns_are_another_digest() -> None:
    one = encoded(RunRow("run-1", prompt_pack_id="a", parent_run_id="b"))
    other = encoded(RunRow("run-1", prompt_pack_id="b", parent_run_id="a"))
    assert _digest(one) != _digest(other)


def test_none_and_the_text_null_are_not_the_same() -> None:
    assert _digest(encoded(RunRow("r"))) != _digest(encoded(RunRow("r", pipeline="null")))


def test_what_was_taken_in_can_be_taken_out_again_and_parts_add_up() -> None:
    records = [encoded(row) for row in _some_rows()]
    whole, part, rest = TableDigest(), TableDigest(), TableDigest()
    whole.add(records)
    part.add(records[:4])
    rest.add(records[4:])
    whole.remove(records[:4])
    assert (whole.rows, whole.hexdigest()) == (rest.rows, rest.hexdigest())
    whole.merge(part)
    assert whole.hexdigest() == _digest(*records)


def test_the_digest_of_a_row_is_the_sha256_of_its_tuple_in_copy_format() -> None:
    # Rebuilds record digests, and those of years ago must stay comparable.
    row = AnomalyRow("run-1", 7, "odd", "é", None, 2, seconds(0))
    written = (
        b"\x00\x07"
        b"\x00\x00\x00\x05run-1"
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x07"
        b"\x00\x00\x00\x03odd"
        b"\x00\x00\x00\x02\xc3\xa9"
        b"\xff\xff\xff\xff"
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x02"
        b"\x00\x00\x00\x08\x00\x02\xea\x51\x19\xd4\x10\x00"  # 9,497.5 days in microseconds
    )
    assert encoded(row) == written
    assert _digest(encoded(row)) == sha256(written).hexdigest()
