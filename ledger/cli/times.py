"""Times as options: ISO 8601, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

import click

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class AwareTime(click.ParamType):  # type: ignore[type-arg] # it takes one since click 8.4
    """ISO 8601; without an offset it is in the reader's own zone."""

    name = "time"
    expected = "ISO 8601, as 2026-11-24T12:00:00+01:00"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; expected {self.expected}", param, ctx)


class TimeOrAge(AwareTime):
    """ISO 8601, or how long ago: 90s, 15m, 2h, 7d, 4w."""

    name = "time|age"
    expected = f"{AwareTime.expected}, or an age, as 2h"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        age = _AGE.fullmatch(str(value))
        if age is None:
            return super().convert(value, param, ctx)
        try:
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        except OverflowError:
            self.fail(f"{value!r} is before all calendars", param, ctx)


def is_age(text: str) -> bool:
    return _AGE.fullmatch(text) is not None
