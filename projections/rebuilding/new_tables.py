"""New tables: like the live ones in all but their names and rows, filled while those are read and
projected into, and put in their place at once.

They stand in the schema `projection` under names that no projection can have, `$token_number_projection`,
where the token is of one rebuild; so do the old ones, from the exchange until they are dropped. What a
rebuild that was killed left behind is known by these names.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection
from projections.rows import Row
from projections.table_making import create_unkeyed, differs
from projections.table_sql import SCHEMA, listed, qualified
from projections.workers import together
from projections.workers.reading import Pause

_SQL = load_statements("projections.rebuilding", "queries.sql")
DROP_SECONDS = 30
"""How long a leftover may be in use by workers of the rebuild that left it; they end when it does."""


@dataclass(frozen=True)
class Index:
    """`statement` makes it under `new_name`; it is called `name` once its table is the live one, whose own
    index is then called `old_name`."""

    name: str
    new_name: str
    old_name: str
    statement: str
    constraint: str | None
    comment: str | None = None


@dataclass(frozen=True)
class NewTable:
    row_type: type[Row]
    name: str
    old_name: str
    """Of the live table, once it is no longer that."""
    replaces: bool
    """Whether there is a live table."""
    indexes: Sequence[Index] = field(default=())
    vacuum_is_off: bool = field(default=True)
    """Whether autovacuum leaves it alone until it is live: it would look at a table that is filled as at one
    that has changed much, and whoever wants to exchange the tables waits a second until it is ended."""


async def drop_leftovers(connection: Connection, projection: Projection[Any]) -> None:
    """Drops what rebuilds of the projection that did not end have left; the caller holds the lock."""
    rows = await connection.fetch(_SQL["leftovers"], projection.name)
    if rows:
        tables = ", ".join(f'{SCHEMA}."{row[0]}"' for row in rows)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{DROP_SECONDS}s'")
            await connection.execute(f"DROP TABLE {tables}")


async def make_tables(
    connection: Connection, projection: Projection[Any], row_types: Sequence[type[Row]]
) -> list[NewTable]:
    """Empty tables without indexes: like the live ones, or as the row classes say where a live one is
    missing or is not as they say."""
    token = token_hex(4)
    async with connection.transaction():
        different = await differs(connection, projection)
        numbered = [f"${token}_{number}_{projection.name}" for number in range(2 * len(row_types))]
        names = zip(numbered[::2], numbered[1::2], strict=True)
        return [
            await _make(connection, row_type, *named, different)
            for row_type, named in zip(row_types, names, strict=True)
        ]


async def _make(
    connection: Connection, row_type: type[Row], name: str, old_name: str, different: bool
) -> NewTable:
    table = row_type.TABLE
    replaces: bool = await connection.fetchval(_SQL["is_there"], table)
    if different or not replaces:
        await connection.execute(create_unkeyed(row_type, name))
        await connection.execute(_vacuum_off(name))
        return NewTable(row_type, name, old_name, replaces, [_key(row_type, name, old_name)])
    await connection.execute(
        f'CREATE TABLE {SCHEMA}."{name}" (LIKE {qualified(row_type)} INCLUDING ALL EXCLUDING INDEXES)'
    )
    for row in await connection.fetch(_SQL["likeness"], table, name):
        await connection.execute(row[0])
    indexes = [Index(*row) for row in await connection.fetch(_SQL["indexes"], table, name, old_name)]
    of_its_own: bool = await connection.fetchval(_SQL["says_of_vacuum"], table)
    if not of_its_own:
        await connection.execute(_vacuum_off(name))
    return NewTable(row_type, name, old_name, replaces, indexes, not of_its_own)


def _vacuum_off(name: str) -> str:
    return f'ALTER TABLE {SCHEMA}."{name}" SET (autovacuum_enabled = off)'


def _key(row_type: type[Row], name: str, old_name: str) -> Index:
    new_name = f"{name[:55]}.1"
    statement = f'CREATE UNIQUE INDEX "{new_name}" ON {SCHEMA}."{name}" ({listed(row_type.KEY)})'
    return Index(f"{row_type.TABLE[:58]}_pkey", new_name, f"{old_name[:55]}.1", statement, "p")


async def build_indexes(
    connections: Sequence[Connection], tables: Sequence[NewTable], pause: Pause | None = None
) -> None:
    """Makes the indexes of filled tables, as many at a time as there are connections, and gathers
    the planner's statistics."""
    waiting = iter([index for table in tables for index in table.indexes])

    async def build(connection: Connection) -> None:
        for index in waiting:
            begun = time.monotonic()
            await connection.execute(index.statement)
            if index.comment is not None:
                said = index.comment.replace("'", "''")
                await connection.execute(f"COMMENT ON INDEX {SCHEMA}.\"{index.new_name}\" IS '{said}'")
            if pause is not None:
                await pause(time.monotonic() - begun)

    await together(build(connection) for connection in connections)
    unfinished = iter(tables)
    await together(_finish(connection, unfinished) for connection in connections)


async def _finish(connection: Connection, tables: Iterator[NewTable]) -> None:
    for table in tables:
        for index in table.indexes:
            if index.constraint is not None:
                kind = {"p": "PRIMARY KEY", "u": "UNIQUE"}[index.constraint]
                await connection.execute(
                    f'ALTER TABLE {SCHEMA}."{table.name}" ADD CONSTRAINT "{index.new_name}" '
                    f'{kind} USING INDEX "{index.new_name}"'
                )
        await connection.execute(f'ANALYZE {SCHEMA}."{table.name}"')


def exchange_indexes(tables: Sequence[NewTable]) -> str:
    """The statements that give the new tables' indexes the names of the live ones', and autovacuum its way
    again. Whoever reads or writes these does not wait for it."""
    statements: list[str] = []
    for table in tables:
        if table.vacuum_is_off:
            statements.append(f'ALTER TABLE {SCHEMA}."{table.name}" RESET (autovacuum_enabled)')
        for index in table.indexes:
            if table.replaces:
                statements.append(_rename(f'INDEX IF EXISTS {SCHEMA}."{index.name}"', index.old_name))
            statements.append(_rename(f'INDEX {SCHEMA}."{index.new_name}"', index.name))
    return "; ".join(statements)


def exchange_tables(tables: Sequence[NewTable]) -> str:
    """The statements that put new tables in the place of the live ones, which are then known by their old
    names. They change a few rows of the catalogue and no file."""
    statements: list[str] = []
    for table in tables:
        if table.replaces:
            statements.append(_rename(f"TABLE {qualified(table.row_type)}", table.old_name))
        statements.append(_rename(f'TABLE {SCHEMA}."{table.name}"', table.row_type.TABLE))
    return "; ".join(statements)


def _rename(what: str, name: str) -> str:
    return f'ALTER {what} RENAME TO "{name}"'


def lock_live(tables: Sequence[NewTable]) -> str:
    named = ", ".join(qualified(table.row_type) for table in tables if table.replaces)
    return f"LOCK TABLE {named} IN ACCESS EXCLUSIVE MODE" if named else "SELECT"


def lock_against_vacuum(tables: Sequence[NewTable], *, new_ones: bool) -> str:
    """Nobody else waits for this lock or behind it, and PostgreSQL ends an autovacuum that it has waited for
    a second: the short lock, which readers would wait behind, cannot be waited for that long."""
    new = [f'{SCHEMA}."{table.name}"' for table in tables if new_ones]
    named = new + [qualified(table.row_type) for table in tables if table.replaces]
    return f"LOCK TABLE {', '.join(named)} IN SHARE UPDATE EXCLUSIVE MODE" if named else "SELECT"


async def drop_tables(connection: Connection, tables: Sequence[NewTable]) -> None:
    """Drops what of them is not live: before the exchange the new tables, after it those they replaced. All
    at once: each commit that removes files waits for a flush."""
    if tables:
        names = [f'{SCHEMA}."{name}"' for table in tables for name in (table.name, table.old_name)]
        await connection.execute(f"DROP TABLE IF EXISTS {', '.join(names)}")
