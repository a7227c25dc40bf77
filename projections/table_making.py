"""The tables of projections that no migration knows: made from their row classes when such a projection is
first followed or rebuilt, and compared with them from then on.

They stand in the schema `projection` beside daicho's own, with the same owner and the same readers, so that
whatever guards those (docs/guards.md) guards these; the prefix keeps their names apart.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ledger.errors import ProjectionOutdated, ProjectionTablesDiffer
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.core import Core
from projections.definition import Projection, check
from projections.rows import Row
from projections.tables import table_named, table_of

_SQL = load_statements("projections", "queries.sql")
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

Columns = Mapping[str, str]
"""Column -> its type, nullability and place in the key, in one line that people can read."""


async def ensure_tables(connection: Connection, projection: Projection[Any]) -> None:
    """Makes tables and checkpoint where the tenant has neither. Raises ProjectionTablesDiffer where tables
    are there and not as the classes say. `connection` is in the projector role."""
    if isinstance(projection, Core) or not await _is_new(connection, projection):
        await require_tables(connection, projection)
        return
    async with connection.transaction():
        await connection.execute(_SQL["lock_tables"], projection.name)
        if await _is_new(connection, projection):  # nobody else was faster
            await _make(connection, projection)
            await connection.execute(_SQL["first_checkpoint"], projection.name)
    await require_tables(connection, projection)


async def require_tables(connection: Connection, projection: Projection[Any]) -> None:
    """Raises ProjectionTablesDiffer where the tables are not as the row classes say, or not there."""
    if isinstance(projection, Core):
        return  # the migrations made them, and a revision is asserted when the tenant is opened
    if differences := await _differences(connection, projection):
        raise ProjectionTablesDiffer(
            f"The tables of projection {projection.name!r} are not those of its classes: {differences[0]}",
            found=f"{len(differences)} differences" if len(differences) > 1 else None,
            fix=f"`daicho rebuild --projection {projection.name}` makes them anew; nothing was changed",
        )


def require_version(projection: Projection[Any], position: int, found: int | None) -> None:
    """Raises ProjectionOutdated where the tables, which have come to `position`, were filled by another
    version of the projection. Empty ones, of which no event is in the tables, anybody may fill."""
    if found == projection.version or (found is None and position == 0):
        return
    is_newer = found is not None and found > projection.version
    rebuild = f"`daicho rebuild --projection {projection.name}` folds the events again"
    raise ProjectionOutdated(
        f"The tables of projection {projection.name!r} were filled by another version of it",
        expected=f"version {projection.version}",
        found="no version" if found is None else f"version {found}",
        fix="Install the package that filled them" if is_newer else f"{rebuild}; nothing was changed",
    )


async def differs(connection: Connection, projection: Projection[Any]) -> bool:
    """Whether the tables are not as the row classes say, or not all there."""
    return not isinstance(projection, Core) and bool(await _differences(connection, projection))


def create_unkeyed(row_type: type[Row], name: str) -> str:
    """The statement that makes a table as the row class says, under another name and without its key."""
    return str(CreateTable(table_named(row_type, name)).compile(dialect=_DIALECT))


async def _make(connection: Connection, projection: Projection[Any]) -> None:
    check(projection)  # its names go into statements
    for row_type in projection.tables:
        await connection.execute(str(CreateTable(table_of(row_type)).compile(dialect=_DIALECT)))


async def _is_new(connection: Connection, projection: Projection[Any]) -> bool:
    if await connection.fetchval(_SQL["checkpoint"], projection.name) is not None:
        return False
    return not await _found(connection, projection)


async def _differences(connection: Connection, projection: Projection[Any]) -> list[str]:
    found = await _found(connection, projection)
    differences: list[str] = []
    for row_type in projection.tables:
        expected, there = _expected(row_type), found.get(row_type.TABLE)
        if there is None:
            differences.append(f"table {row_type.TABLE} is not there")
            continue
        for column in expected.keys() | there.keys():
            wanted, is_ = expected.get(column, "no such column"), there.get(column, "no such column")
            if wanted != is_:
                differences.append(f"{row_type.TABLE}.{column} should be {wanted} and is {is_}")
    return sorted(differences)


def _expected(row_type: type[Row]) -> Columns:
    return {
        column.name: _described(
            column.type.compile(dialect=_DIALECT),
            not column.nullable,
            row_type.KEY.index(column.name) + 1 if column.name in row_type.KEY else 0,
        )
        for column in table_of(row_type).columns
    }


async def _found(connection: Connection, projection: Projection[Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    tables = [row_type.TABLE for row_type in projection.tables]
    for table, column, kind, is_not_null, place in await connection.fetch(_SQL["table_columns"], tables):
        found.setdefault(table, {})[column] = _described(kind, is_not_null, place)
    return found


def _described(kind: str, is_not_null: bool, place: int) -> str:
    key = f", part {place} of the key" if place else ""
    return f"{kind}{' NOT NULL' if is_not_null else ''}{key}"
