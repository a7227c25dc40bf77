"""A tenant's log, read from one database and written into another, equal to the last byte.

Rows go in as the tables' owner, past the append functions, so that positions, times and commitments stay what
they are. The database they go into is nobody's yet: no writer may log in to it.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from ledger.errors import TenantCopyDiffers
from ledger.lifecycle.log_tables import EVENTS, LogTable
from ledger.store.server import Connection
from ledger.store.statements import load_statements

CHUNK_EVENTS = 10_000
_RECORDED_AT = list(EVENTS.columns).index("recorded_at")
_EVENT_TYPE = list(EVENTS.columns).index("event_type")
_ERASED = "payload.erased"

_SQL = load_statements("ledger.lifecycle", "queries.sql")

Rows = Sequence[tuple[Any, ...]]


async def head_of(connection: Connection) -> int:
    position: int = await connection.fetchval(_SQL["head"])
    return position


async def read_events(connection: Connection, after: int, upto: int) -> AsyncIterator[Rows]:
    """Events at positions after `after` and up to `upto`, at most 10,000 at a time."""
    columns = ", ".join(EVENTS.columns)
    between = "position > $1 AND position <= $2"
    statement = f"SELECT {columns} FROM ledger.events WHERE {between} ORDER BY position"  # noqa: S608
    while after < upto:
        last = min(after + CHUNK_EVENTS, upto)
        yield [tuple(row) for row in await connection.fetch(statement, after, last)]
        after = last


async def read_table(connection: Connection, table: LogTable) -> AsyncIterator[Rows]:
    """All rows of a table that is no log, in order of its key, at most 10,000 at a time."""
    columns, key = ", ".join(table.columns), ", ".join(table.key)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = await connection.cursor(f"SELECT {columns} FROM ledger.{table.name} ORDER BY {key}")  # noqa: S608
        while rows := await cursor.fetch(CHUNK_EVENTS):
            yield [tuple(row) for row in rows]


async def write_events(owner: Connection, rows: Rows) -> None:
    """Appends events as they are, and moves the head to the last of them; all or none."""
    first, last = rows[0], rows[-1]
    has_erasures = any(row[_EVENT_TYPE] == _ERASED for row in rows)
    async with owner.transaction():
        if has_erasures:
            await owner.execute(_SQL["disarm_erasure_record"])
            await owner.execute(_SQL["disarm_immutable"])
        await _copy(owner, EVENTS, rows)
        await owner.execute(_SQL["move_head"], last[0], last[_RECORDED_AT])
        if has_erasures:
            await owner.execute(_SQL["erase_what_is_recorded"], first[0] - 1, last[0])
            await owner.execute(_SQL["arm_immutable"])
            await owner.execute(_SQL["arm_erasure_record"])


async def replace_table(owner: Connection, table: LogTable, chunks: AsyncIterator[Rows]) -> int:
    """Empties a table that is no log and fills it; returns how many rows it has now."""
    count = 0
    async with owner.transaction():
        await owner.execute(f"DELETE FROM ledger.{table.name}")  # noqa: S608
        async for rows in chunks:
            await _copy(owner, table, rows)
            count += len(rows)
    return count


async def require_whole(connection: Connection, whose: str) -> None:
    """Raises TenantCopyDiffers where the log has a gap, a payload that does not meet its commitment, or an
    erased one that nothing recorded."""
    faults = await connection.fetchrow(_SQL["log_faults"])
    assert faults is not None
    found = [
        said
        for said, count in (
            ("positions that are not 1, 2, 3, … up to the head", int(faults["has_gaps"])),
            (f"{faults['uncommitted']} payloads that do not meet their commitments", faults["uncommitted"]),
            (f"{faults['unrecorded']} payloads erased without a record", faults["unrecorded"]),
        )
        if count
    ]
    if found:
        raise TenantCopyDiffers(
            f"The log of {whose} is not whole",
            found="; ".join(found),
            fix="Use another copy of it; this is not used",
        )


async def range_digest(connection: Connection, after: int, upto: int) -> bytes:
    """sha256 over every column of these events."""
    row = await connection.fetchrow(_SQL["range_digest"], after, upto)
    assert row is not None
    digest: bytes = row["digest"]
    return digest


async def erased_positions(connection: Connection, after: int, upto: int) -> list[int]:
    """What records among these events say was erased."""
    return [row[0] for row in await connection.fetch(_SQL["erased_positions"], after, upto)]


async def _copy(owner: Connection, table: LogTable, rows: Rows) -> None:
    await owner.copy_records_to_table(
        table.name, schema_name="ledger", columns=list(table.columns), records=rows
    )


async def copy_events(source: Connection, owner: Connection, moved: Callable[[int, int], None]) -> int:
    """Copies what the target does not have yet, up to the source's head; returns how many events."""
    begin, upto = await head_of(owner), await head_of(source)
    async for rows in read_events(source, begin, upto):
        await write_events(owner, rows)
        moved(rows[-1][0], upto)
    return upto - begin


async def copy_other_tables(source: Connection, owner: Connection) -> None:
    """Copies every other table of the schema `ledger`, whole; both connections are the owners'."""
    for row in await source.fetch(_SQL["other_tables"]):
        table = row["tablename"]
        with tempfile.TemporaryFile() as file:
            await source.copy_from_table(table, schema_name="ledger", output=file, format="binary")
            file.seek(0)
            async with owner.transaction():
                await owner.execute(f'DELETE FROM ledger."{table}"')  # noqa: S608 - a name from the catalogue
                await owner.copy_to_table(table, schema_name="ledger", source=file, format="binary")
