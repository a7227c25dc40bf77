"""Ranges: all streams, divided by name, and spans, all streams divided by where they began; parts of about
equal numbers of events.

Who wants the streams in order of name, as the tables hold them, takes ranges. Where to divide is told by a
sample of the log's pages, so no statistics need be fresh and nothing is counted. Who does not takes spans:
streams that began near each other lie near each other in the log, most of them, while those with similar
names may lie anywhere. Parts are small: the server sorts each in memory, and no worker is left with the
largest.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ledger.store.server import Connection
from ledger.store.statements import load_statements

EVENTS_OF_RANGE = 25_000
SAMPLED_OF_RANGE = 40
RANGES_MAX = 4_000

_SQL = load_statements("projections.workers", "queries.sql")


@dataclass(frozen=True)
class Range:
    """Streams with `after` < name <= `upto`, where these are given; byte by byte, as in the index. Or the
    one stream `only`."""

    after: str | None = None
    upto: str | None = None
    only: str | None = None

    def condition(self, column: str) -> tuple[str, list[str]]:
        """SQL that says so of `column`, and its arguments from $1 on."""
        if self.only is not None:
            return f"{column} = $1", [self.only]
        parts = [(">", self.after), ("<=", self.upto)]
        given = [(comparison, name) for comparison, name in parts if name is not None]
        texts = [f"{column} {comparison} ${number}" for number, (comparison, _) in enumerate(given, 1)]
        return " AND ".join(texts) or "true", [name for _, name in given]


EVERYTHING = Range()


@dataclass(frozen=True)
class Span:
    """Streams whose first event has a position > `after` and <= `upto`."""

    after: int
    upto: int


def spans_of(upto: int) -> list[Span]:
    """Spans that together hold every stream that began up to a position, in order."""
    count = max(1, min(upto // EVENTS_OF_RANGE, RANGES_MAX))
    cuts = [upto * number // count for number in range(count + 1)]
    return [Span(after, upto) for after, upto in pairwise(cuts)]


async def ranges_of(connection: Connection, events: int, events_of_range: int | None = None) -> list[Range]:
    """Ranges that together hold every stream there is or will be, in order."""
    count = min(events // (events_of_range or EVENTS_OF_RANGE), RANGES_MAX)
    if count < 2:
        return [EVERYTHING]
    percent = min(100.0, 100.0 * count * SAMPLED_OF_RANGE / events)
    rows: list[Any] = await connection.fetch(_SQL["sample_streams"], percent)
    sampled = [row[0] for row in rows]
    cuts = sorted({sampled[len(sampled) * number // count] for number in range(1, count)}) if sampled else []
    return [Range(after, upto) for after, upto in zip([None, *cuts], [*cuts, None], strict=True)]
