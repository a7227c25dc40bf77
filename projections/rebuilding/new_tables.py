"""New tables: like the live ones in all but their names and rows, filled while those are read and
projected into, and put in their place at once.

They stand in the schema `projection` under names that no projection can have, `$token_number_projection`,
where the token is of one rebuild. What a rebuild that was killed left behind is known by these names.
"""

from collections.abc import Sequence
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

_SQL = load_statements("projections.rebuilding", "queries.sql")
DROP_SECONDS = 30
"""How long a leftover may be in use by workers of the rebuild that left it; they end when it does."""


@dataclass(frozen=True)
class Index:
    """`statement` makes it under `new_name`; it is called `name` once its table is the live one."""

    name: str
    new_name: str
    statement: str
    constraint: str | None
    comment: str | None = None


@dataclass(frozen=True)
class NewTable:
    row_type: type[Row]
    name: str
    replaces: bool
    """Whether there is a live table."""
    indexes: Sequence[Index] = field(default=())


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
        return [
            await _make(connection, row_type, f"${token}_{number}_{projection.name}", different)
            for number, row_type in enumerate(row_types)
        ]


async def _make(connection: Connection, row_type: type[Row], name: str, different: bool) -> NewTable:
    table = row_type.TABLE
    replaces: bool = await connection.fetchval(_SQL["is_there"], table)
    if different or not replaces:
        await connection.execute(create_unkeyed(row_type, name))
        return NewTable(row_type, name, replaces, [_key(row_type, name)])
    await connection.execute(
        f'CREATE TABLE {SCHEMA}."{name}" (LIKE {qualified(row_type)} INCLUDING ALL EXCLUDING INDEXES)'
    )
    for row in await connection.fetch(_SQL["likeness"], table, name):
        await connection.execute(row[0])
    indexes = [Index(*row) for row in await connection.fetch(_SQL["indexes"], table, name)]
    return NewTable(row_type, name, replaces, indexes)


def _key(row_type: type[Row], table: str) -> Index:
    new_name = f"{table[:55]}.1"
    statement = f'CREATE UNIQUE INDEX "{new_name}" ON {SCHEMA}."{table}" ({listed(row_type.KEY)})'
    return Index(f"{row_type.TABLE[:58]}_pkey", new_name, statement, "p")


async def build_indexes(connections: Sequence[Connection], tables: Sequence[NewTable]) -> None:
    """Makes the indexes of filled tables, as many at a time as there are connections, and gathers
    the planner's statistics."""
    waiting = iter([index for table in tables for index in table.indexes])

    async def build(connection: Connection) -> None:
        for index in waiting:
            await connection.execute(index.statement)
            if index.comment is not None:
                said = index.comment.replace("'", "''")
                await connection.execute(f"COMMENT ON INDEX {SCHEMA}.\"{index.new_name}\" IS '{said}'")

    await together(build(connection) for connection in connections)
    for table in tables:
        for index in table.indexes:
            if index.constraint is not None:
                kind = {"p": "PRIMARY KEY", "u": "UNIQUE"}[index.constraint]
                await connections[0].execute(
                    f'ALTER TABLE {SCHEMA}."{table.name}" ADD CONSTRAINT "{index.new_name}" '
                    f'{kind} USING INDEX "{index.new_name}"'
                )
        await connections[0].execute(f'ANALYZE {SCHEMA}."{table.name}"')


def exchange(tables: Sequence[NewTable]) -> str:
    """The statements that put new tables in the place of the live ones, which go."""
    statements: list[str] = []
    for table in tables:
        if table.replaces:
            statements.append(f"DROP TABLE {qualified(table.row_type)}")
        statements.append(f'ALTER TABLE {SCHEMA}."{table.name}" RENAME TO "{table.row_type.TABLE}"')
        statements += [
            f'ALTER INDEX {SCHEMA}."{index.new_name}" RENAME TO "{index.name}"' for index in table.indexes
        ]
    return "; ".join(statements)


def lock_live(tables: Sequence[NewTable]) -> str:
    named = ", ".join(qualified(table.row_type) for table in tables if table.replaces)
    return f"LOCK TABLE {named} IN ACCESS EXCLUSIVE MODE" if named else "SELECT"


async def drop_tables(connection: Connection, tables: Sequence[NewTable]) -> None:
    for table in tables:
        await connection.execute(f'DROP TABLE IF EXISTS {SCHEMA}."{table.name}"')
