"""Sorting more records than fit into memory: sorted runs in a temporary file, merged when they are read."""

import heapq
import os
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType
from typing import NamedTuple, Self

from ledger.errors import SortingFailed

RECORDS_HELD_MAX = 250_000
RECORDS_READ_AT_ONCE = 1_000  # of each run


class _Run(NamedTuple):
    start: int
    records: int


class RecordSorter:
    """Records of `size` bytes each, in the order of their bytes, each one once. `with` closes the file."""

    def __init__(self, size: int, *, held_max: int = RECORDS_HELD_MAX) -> None:
        self._size = size
        self._held_max = held_max
        self._held: set[bytes] = set()
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._runs: list[_Run] = []

    def add(self, record: bytes) -> None:
        """Raises SortingFailed where the disk is full."""
        self._held.add(record)
        if len(self._held) >= self._held_max:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """Once everything was added. May be read again, and by several readers."""
        last = b""
        for record in heapq.merge(*map(self._read, self._runs), sorted(self._held)):
            if record != last:
                yield record
            last = record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _spill(self) -> None:
        start = self._file.tell()
        try:
            self._file.write(b"".join(sorted(self._held)))
            self._file.flush()
        except OSError as error:
            raise SortingFailed(
                f"References could not be sorted on disk: {error.strerror}",
                expected=f"room for temporary files, {self._size} bytes per reference",
                fix="Make room, or set TMPDIR to a larger disk",
            ) from error
        self._runs.append(_Run(start, len(self._held)))
        self._held.clear()

    def _read(self, run: _Run) -> Iterator[bytes]:
        block = RECORDS_READ_AT_ONCE * self._size
        end = run.start + run.records * self._size
        for start in range(run.start, end, block):
            data = os.pread(self._file.fileno(), min(block, end - start), start)
            for at in range(0, len(data), self._size):
                yield data[at : at + self._size]
