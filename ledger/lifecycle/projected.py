"""A tenant's projections in one database: brought up to the head, and compared with those in another."""

from typing import Any

from ledger.errors import TenantCopyDiffers
from ledger.store.event_store import EventStore
from ledger.store.reader import Reader
from ledger.store.server import Connection
from ledger.store.tenant_database import Role, TenantDatabase
from projections import Projector
from projections.installed import installed_projections
from projections.rows import Row, columns
from projections.table_sql import listed, qualified

CONNECTIONS = 2


async def catch_up(database: TenantDatabase) -> int:
    """Projects every installed projection up to the head; returns the lowest position reached."""
    reader = await Reader.open(database, connections_max=CONNECTIONS)
    store = EventStore(database, reader)
    positions = []
    try:
        for projection in installed_projections():
            projector = Projector(store, projection)
            try:
                positions.append(await projector.catch_up())
            finally:
                await projector.close()
    finally:
        await store.close()
        await reader.close()
    return min(positions)


async def require_equal_tables(one: TenantDatabase, other: TenantDatabase) -> None:
    """Raises TenantCopyDiffers, which names the tables that differ."""
    found = [await _digests(database) for database in (one, other)]
    differing = sorted(name for name in found[0] if found[0][name] != found[1][name])
    if differing:
        raise TenantCopyDiffers(
            f"The tables of tenant {one.tenant_id!r} at {other.server.name} differ from those at its server",
            expected="equal rows in every table",
            found=f"others in {', '.join(differing)}",
            fix="Report it; the tenant stays where it was",
        )


async def _digests(database: TenantDatabase) -> dict[str, tuple[Any, ...]]:
    connection = await database.connect(Role.READER)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                row_type.TABLE: await _digest(connection, row_type)
                for projection in installed_projections()
                for row_type in projection.tables
            }
    finally:
        await connection.close()


async def _digest(connection: Connection, row_type: type[Row]) -> tuple[Any, ...]:
    """How many rows there are, and the sums of two parts of each one's sha256: equal in whatever order."""
    values = f"ROW({listed(columns(row_type))})::text"
    digest = f"encode(sha256(convert_to({values}, 'UTF8')), 'hex') AS digest"
    digests = f"SELECT {digest} FROM {qualified(row_type)}"  # noqa: S608 - names of our own classes
    row = await connection.fetchrow(
        f"SELECT count(*), sum({_part(1)}), sum({_part(17)}) FROM ({digests}) AS rows"  # noqa: S608
    )
    assert row is not None
    return tuple(row)


def _part(first: int) -> str:
    """15 of the 64 digits, as a number."""
    return f"('x' || substr(digest, {first}, 15))::bit(60)::bigint"
