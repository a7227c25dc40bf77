"""Points of the log as options: `--at 17`, `--at v4`, `--since 2026-11-24T12:00`, `--since 2h`."""

from collections.abc import Callable
from typing import Any

import click

from ledger.cli.times import TimeOrAge, is_age
from ledger.errors import InvalidPoint
from projections.audit import Point

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class PointType(click.ParamType):  # type: ignore[type-arg] # it takes one since click 8.4
    name = "point"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Point:
        if isinstance(value, Point):
            return value
        try:
            if is_age(str(value)):
                return Point(time=TimeOrAge().convert(value, param, ctx))
            return Point.parse(str(value))
        except InvalidPoint as error:
            expected = f"; expected {error.expected}" if error.expected else ""
            self.fail(f"{error.problem}{expected}", param, ctx)


POINT = PointType()
at_option: Decorator = click.option(
    "--at",
    type=POINT,
    metavar="POINT",
    help="As of a position (17), a run's version (v4) or a time (ISO 8601, or an age: 2h).",
)


def range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    since = click.option("--since", type=POINT, metavar="POINT", help="From this position or time on.")
    until = click.option("--until", type=POINT, metavar="POINT", help="Up to this position or time.")
    return since(until(command))
