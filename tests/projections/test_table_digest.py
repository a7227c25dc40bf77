"""TableDigest: one number for all rows of a table; what a rebuild records and a verification compares."""

import random
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from builder import History, error, ref, seconds

from projections.digests import TableDigest
from projections.rows import ROW_TYPES, PromptRow, Row, RunRow, columns, to_record


def _digest(*records: tuple[Any, ...]) -> str:
    digest = TableDigest()
    for record in records:
        digest.add(record)
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
    records = [to_record(row) for row in _some_rows()]
    expected = _digest(*records)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert _digest(*shuffled) == expected


def test_a_row_more_or_less_or_twice_is_another_digest() -> None:
    records = [to_record(row) for row in _some_rows()]
    assert len({_digest(*records), _digest(*records[1:]), _digest(*records, records[0]), _digest()}) == 4


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.TABLE)
def test_every_value_of_every_column_counts(kind: type[Row]) -> None:
    row = next(row for row in _some_rows() if type(row) is kind)
    record = to_record(row)
    seen = {_digest(record)}
    for index, _ in enumerate(columns(kind)):
        changed = (*record[:index], _another(record[index]), *record[index + 1 :])
        seen.add(_digest(changed))
    assert len(seen) == len(record) + 1


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    return f"{value}." if value else "."


def test_values_that_change_columns_are_another_digest() -> None:
    one = to_record(RunRow("run-1", prompt_pack_id="a", parent_run_id="b"))
    other = to_record(RunRow("run-1", prompt_pack_id="b", parent_run_id="a"))
    assert _digest(one) != _digest(other)


def test_none_and_the_text_null_are_not_the_same() -> None:
    assert _digest(to_record(RunRow("r"))) != _digest(to_record(RunRow("r", pipeline="null")))


def test_the_digest_of_a_row_is_the_sha256_of_its_columns_as_json() -> None:
    # Rebuilds record digests, and those of years ago must stay comparable.
    record = (1, "a", None, True, 1.5, seconds(0), '{"a":1}')
    written = rb'[1,"a",null,true,1.5,"2026-01-01T12:00:00Z","{\"a\":1}"]'
    assert _digest(record) == sha256(written).hexdigest()
    assert _digest(record) == "875f3b1c994d0d558be290696f3247efb72fc6a54b2f87c83eae8461363c5673"
