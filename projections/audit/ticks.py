"""Ticks: times as PostgreSQL counts and sends them, in microseconds from the beginning of the year 2000, in
eight bytes each, the most significant first."""

from datetime import UTC, datetime, timedelta
from struct import Struct

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
TICKS_PER_MS = 1_000

_two = Struct(">qq")
two_ticks = _two.unpack
"""Of sixteen bytes the two times, as numbers."""


def as_two_ticks(one: datetime, other: datetime) -> bytes:
    """Two aware times as a statement gives them with `timestamptz_send(one) || timestamptz_send(other)`."""
    return _two.pack((one - EPOCH) // TICK, (other - EPOCH) // TICK)
