"""Projection: what a read side is made of. daicho's own (core.py) is one; yours is another.

name     names its checkpoint, and begins the names of its tables: `costs`, `costs_daily`
version  which fold this is: raise it whenever the same events come to other rows, and tables that an
         older one filled are refused until they are rebuilt
tables   its row classes (rows.py), one per table, each keyed by the stream first
state    what the fold knows of one stream; it can be loaded from the stream's rows, so that a
         projector may stop and go on anywhere
fold     pure: the state and the stream's next event in, rows touched in the state
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import datetime
from types import NoneType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ledger.contract.events import RecordedEvent
from ledger.errors import InvalidProjection, ProjectionNotFound
from projections.rows import Json, Row, columns, key_of, kinds_of

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
COLUMN_TYPES = frozenset({str, int, bool, float, datetime, Json})


class StreamState(Protocol):
    """What is known of one stream."""

    run_id: str


class State(StreamState, Protocol):
    """What is known of one stream, and stands in rows."""

    def add(self, row: Row) -> None:
        """Takes in a row loaded from the tables; they come by table and in order of key."""

    def take_touched(self) -> list[Row]:
        """The rows changed since the last call, each once."""


F = TypeVar("F", bound=StreamState)
S = TypeVar("S", bound=State)
R = TypeVar("R", bound=Row)


class StreamFold(Protocol[F]):
    """Makes something of a stream's events, in order: a projection does, whose state stands in rows, and so
    does whoever wants to know something else of each stream."""

    def new_state(self, run_id: str) -> F: ...

    def fold(self, state: F, event: RecordedEvent) -> None: ...


class StreamRows:
    """The simplest state: all rows of one stream, by key."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._rows: dict[tuple[Any, ...], Row] = {}
        self._touched: dict[tuple[Any, ...], Row] = {}

    def row(self, row_type: type[R], *key: Any) -> R:
        """The row with this key, of which the stream is the first part and is not given; made, with the
        defaults of all other columns, where there is none. It counts as changed."""
        identity = (row_type, self.run_id, *key)
        found = self._rows.get(identity)
        if found is None:
            found = row_type(**dict(zip(row_type.KEY, identity[1:], strict=True)))
            self._rows[identity] = found
        self._touched[identity] = found
        assert isinstance(found, row_type)
        return found

    def rows(self, row_type: type[R]) -> list[R]:
        """The stream's rows of one table. Change those that `row` gives: only they are written."""
        return [row for row in self._rows.values() if isinstance(row, row_type)]

    def add(self, row: Row) -> None:
        self._rows[type(row), *key_of(row)] = row

    def take_touched(self) -> list[Row]:
        rows = list(self._touched.values())
        self._touched.clear()
        return rows


class Projection(ABC, Generic[S]):
    """Subclass it, give `name` and `tables`, and register the class under the entry point group
    `daicho.projections`. One instance serves all tenants: it keeps nothing between calls."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    tables: ClassVar[Sequence[type[Row]]]

    @abstractmethod
    def new_state(self, run_id: str) -> S:
        """The state of a stream before its first event; `StreamRows(run_id)` does for most."""

    @abstractmethod
    def fold(self, state: S, event: RecordedEvent) -> None:
        """Applies the stream's next event. No clock, no files, no network: the same events give the
        same rows, for ever. `event.payload` is None where it was erased; unknown types are passed over."""

    def state_tables(self, run_id: str) -> Sequence[type[Row]]:
        """The tables whose rows the fold reads as well as writes; to others it only adds. Default: all."""
        return self.tables


def row_types_of(projection: Projection[Any], table: str | None = None) -> Sequence[type[Row]]:
    """The row classes of all tables, or of the one that is named. Raises ProjectionNotFound."""
    row_types = [row_type for row_type in projection.tables if table in {None, row_type.TABLE}]
    if not row_types:
        raise ProjectionNotFound(
            f"The projection {projection.name!r} has no table {table!r}",
            expected=f"one of {', '.join(row_type.TABLE for row_type in projection.tables)}",
            fix="Correct the name; nothing was changed",
        )
    return row_types


def check(projection: Projection[Any]) -> None:
    """Raises InvalidProjection where the definition cannot work; says what is wrong with it."""
    name = getattr(projection, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _invalid(projection, "a name of a-z, 0-9 and _ beginning with a letter, at most 40", repr(name))
    version = projection.version
    if type(version) is not int or not 1 <= version < 2**31:
        raise _invalid(projection, "a version that is a whole number from 1 on", repr(version))
    tables = getattr(projection, "tables", ())
    if not tables:
        raise _invalid(projection, "at least one table", "none")
    for row_type in tables:
        if not (isinstance(row_type, type) and issubclass(row_type, Row) and is_dataclass(row_type)):
            raise _invalid(projection, "tables that are dataclasses derived from Row", repr(row_type))
        _check_table(projection, row_type)
    if len({row_type.TABLE for row_type in tables}) < len(tables):
        raise _invalid(projection, "tables with different names", ", ".join(row.TABLE for row in tables))


def _check_table(projection: Projection[Any], row_type: type[Row]) -> None:
    table = getattr(row_type, "TABLE", None)
    prefix = f"{projection.name}_"
    if not isinstance(table, str) or not re.fullmatch(rf"{prefix}[a-z0-9_]{{1,22}}", table):
        raise _invalid(
            projection,
            f"TABLE of {row_type.__name__} to be {prefix!r} and 1 to 22 more of a-z, 0-9, _",
            repr(table),
        )
    named = columns(row_type)
    key = getattr(row_type, "KEY", ())
    if not key or key[0] != "run_id" or named.get("run_id") is not str or not set(key) <= named.keys():
        raise _invalid(
            projection, f"KEY of {table} to name columns of it, 'run_id' (str) the first", repr(key)
        )
    for column, annotation in named.items():
        kinds = kinds_of(annotation)
        allowed = len(kinds - {NoneType}) == 1 and kinds - {NoneType} <= COLUMN_TYPES
        if not allowed or not NAME.fullmatch(column) or (column in key and NoneType in kinds):
            raise _invalid(
                projection,
                f"column {column!r} of {table} to be a str, int, bool, float, datetime or Json, or one of "
                "these | None outside the key, under a name of a-z, 0-9 and _",
                f"{annotation}",
            )


def _invalid(projection: Projection[Any], expected: str, found: str) -> InvalidProjection:
    kind = type(projection)
    return InvalidProjection(
        f"{kind.__module__}.{kind.__qualname__} is not a projection",
        expected=expected,
        found=found,
        fix="Correct the class; nothing was written",
    )
