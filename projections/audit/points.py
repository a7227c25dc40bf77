"""Point: a moment of a tenant's log. One of these names it; with none of them it is now.

position   of the tenant: 1, 2, 3 … over all its events
version    of one run: 1, 2, 3 … within it
time       aware; what had been recorded by then
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from ledger.errors import InvalidPoint

_POSITION = re.compile(r"\d{1,18}")
_VERSION = re.compile(r"v(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Point:
    position: int | None = None
    version: int | None = None
    time: datetime | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.position, self.version, self.time)) > 1:
            raise InvalidPoint(
                "A point is a position, a version or a time",
                expected="one of them",
                found=f"position {self.position}, version {self.version}, time {self.time}",
                fix="Give one alone",
            )
        if self.time is None:
            return
        if self.time.tzinfo is None:
            raise InvalidPoint(
                f"The time {self.time.isoformat()} names no instant",
                expected="a time with a zone",
                fix="Give it one: time.astimezone() takes this machine's",
            )
        if not 1 < self.time.year < 9999:
            raise InvalidPoint(f"Nothing happened in the year {self.time.year}", fix="Correct the time")

    @classmethod
    def of(cls, given: "int | datetime | Point | None") -> "Point":
        """A number is a position."""
        if isinstance(given, Point):
            return given
        return cls(time=given) if isinstance(given, datetime) else cls(position=given)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`17` is a position, `v4` a version, anything else a time in ISO 8601; without an offset it is in
        this machine's zone. Raises InvalidPoint."""
        if _POSITION.fullmatch(text):
            return cls(position=int(text))
        if found := _VERSION.fullmatch(text):
            return cls(version=int(found[1]))
        try:
            return cls(time=datetime.fromisoformat(text).astimezone())
        except (ValueError, OverflowError):
            raise InvalidPoint(
                f"{text[:80]!r} is not a point of the log",
                expected="a position (17), a version (v4) or a time (2026-11-24T12:00, or …T12:00+01:00)",
                fix="Correct it",
            ) from None

    @property
    def in_own_zone(self) -> Self:
        """The same moment as this machine's reader tells it."""
        return self if self.time is None else type(self)(time=self.time.astimezone())

    def __str__(self) -> str:
        """What `parse` reads; empty for now."""
        if self.position is not None:
            return str(self.position)
        if self.version is not None:
            return f"v{self.version}"
        return "" if self.time is None else self.time.isoformat()


NOW = Point()
