"""Ranges: all streams, divided by name into parts of about equal numbers of events.

Where to divide is told by a sample of the log's pages, so no statistics need be fresh and nothing is
counted. Parts are small: the server sorts each in memory, and no worker is left with the largest.
"""

from dataclasses import dataclass
from typing import Any

from ledger.store.server import Connection
from ledger.store.statements import load_statements

EVENTS_OF_RANGE = 25_000
SAMPLED_OF_RANGE = 40
RANGES_MAX = 4_000

_SQL = load_statements("projections.workers", "queries.sql")


@dataclass(frozen=True)
class Range:
    """Streams with `after` < name and, where it is given, name <= `upto`; byte by byte, as in the index."""

    after: str = ""
    upto: str | None = None


EVERYTHING = Range()


async def ranges_of(connection: Connection, events: int) -> list[Range]:
    """Ranges that together hold every stream there is or will be, in order."""
    count = min(events // EVENTS_OF_RANGE, RANGES_MAX)
    if count < 2:
        return [EVERYTHING]
    percent = min(100.0, 100.0 * count * SAMPLED_OF_RANGE / events)
    rows: list[Any] = await connection.fetch(_SQL["sample_streams"], percent)
    sampled = [row[0] for row in rows]
    cuts = sorted({sampled[len(sampled) * number // count] for number in range(1, count)}) if sampled else []
    return [Range(after, upto) for after, upto in zip(["", *cuts], [*cuts, None], strict=True)]
