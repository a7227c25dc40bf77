"""csv (RFC 4180, UTF-8, a header) and parquet (zstd): the same columns in the same order."""

import csv
import io
from collections.abc import Sequence
from typing import Any, BinaryIO

from ledger.contract.times import rfc3339
from ledger.errors import ExtraMissing
from ledger.exports.rows import StoredEvent, payload_columns, said

COLUMNS = (
    "position", "version", "event_id", "event_type", "tenant_id", "run_id", "step_id", "attempt", "timestamp",
    "recorded_at", "actor", "traceparent", "schema_version", "erased", "payload", "payload_base64",
    "payload_commitment",
)  # fmt: skip
_INTEGERS = frozenset({"position", "version", "attempt", "schema_version"})
_TIMES = frozenset({"timestamp", "recorded_at"})
ROW_GROUP_BYTES = 32 * 2**20
ROW_GROUP_EVENTS = 50_000


class Csv:
    """NULL is empty, and so is empty text; `erased` is true or false."""

    def __init__(self, file: BinaryIO, tenant_id: str) -> None:
        self._file = file
        self._tenant_id = tenant_id
        self._write([list(COLUMNS)])

    def add(self, events: Sequence[StoredEvent]) -> None:
        self._write([[_cell(value) for value in _values(self._tenant_id, event)] for event in events])

    def close(self) -> None:
        """Every row stands by itself."""

    def _write(self, rows: list[list[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


class Parquet:
    """Row groups of 50,000 events, or fewer where they come to 32 MiB."""

    def __init__(self, file: BinaryIO, tenant_id: str) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ExtraMissing(
                "Parquet is written by pyarrow, which is not installed", fix="pip install 'daicho[parquet]'"
            ) from error
        self._tenant_id = tenant_id
        self._arrow = pyarrow
        kinds = {
            **dict.fromkeys(COLUMNS, pyarrow.string()),
            **dict.fromkeys(_INTEGERS, pyarrow.int64()),
            **dict.fromkeys(_TIMES, pyarrow.timestamp("us", tz="UTC")),
            "erased": pyarrow.bool_(),
        }
        self._schema = pyarrow.schema(kinds)
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._waiting: list[tuple[Any, ...]] = []
        self._waiting_bytes = 0

    def add(self, events: Sequence[StoredEvent]) -> None:
        self._waiting += [_values(self._tenant_id, event) for event in events]
        self._waiting_bytes += sum(len(event.payload or b"") for event in events)
        if self._waiting_bytes >= ROW_GROUP_BYTES or len(self._waiting) >= ROW_GROUP_EVENTS:
            self._write_group()

    def close(self) -> None:
        if self._waiting:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        columns = [
            self._arrow.array(column, type=field.type)
            for column, field in zip(zip(*self._waiting, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
        self._waiting, self._waiting_bytes = [], 0


def _values(tenant_id: str, event: StoredEvent) -> tuple[Any, ...]:
    told = {**said(tenant_id, event), **payload_columns(event)}
    return tuple(told[name] for name in COLUMNS)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return rfc3339(value) if hasattr(value, "isoformat") else value
