"""What events say of each digest, from the log, in the order of digests and on disk.

record   32 bytes of digest, 8 of size, 8 of position, big-endian; of a mention that is no reference the size
         is all ones and the position 0
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from struct import Struct

from blobstore import Digest
from ledger.upkeep.log import Payload
from ledger.upkeep.references import mentions, references
from ledger.upkeep.sorting import RecordSorter

RECORD = Struct(">32sQQ")
POSITIONS_MAX = 1_000
_NO_SIZE = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Said:
    """`sizes` in bytes that events give for it, one where they agree; none where it is only mentioned.
    `positions` of the events, at most POSITIONS_MAX."""

    sizes: frozenset[int]
    positions: tuple[int, ...]

    @property
    def is_reference(self) -> bool:
        return bool(self.sizes)


def note_all(page: Iterable[Payload], sorter: RecordSorter) -> None:
    for event in page:
        if event.data is not None:
            for digest in mentions(event.data):
                sorter.add(RECORD.pack(bytes.fromhex(digest), _NO_SIZE, 0))
            for digest, size in references(event.event_type, event.data):
                sorter.add(RECORD.pack(bytes.fromhex(digest), size, event.position))


def said_of_each(sorter: RecordSorter) -> Iterator[tuple[Digest, Said]]:
    for raw, records in groupby(map(RECORD.unpack, sorter), key=lambda record: record[0]):
        yield Digest(raw.hex()), _said(records)


def _said(records: Iterable[Sequence[int]]) -> Said:
    sizes: set[int] = set()
    positions: list[int] = []
    for _, size, position in records:
        if size != _NO_SIZE:
            sizes.add(size)
            if len(positions) < POSITIONS_MAX:
                positions.append(position)
    return Said(frozenset(sizes), tuple(sorted(positions)))
