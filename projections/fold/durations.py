"""Durations between two times, in whole milliseconds."""

from datetime import datetime, timedelta

MILLISECOND = timedelta(milliseconds=1)


def milliseconds_between(start: datetime | None, end: datetime) -> int | None:
    """None where the start is unknown or lies after the end (clocks of two machines)."""
    if start is None or end < start:
        return None
    return (end - start) // MILLISECOND
