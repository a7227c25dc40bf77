"""The checkpoint, where a part of a projection is rebuilt: the part has to come to where the others are."""

from typing import Any

from ledger.errors import StoreError
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection
from projections.table_making import require_tables, require_version

_SQL = load_statements("projections", "queries.sql")


async def sound_checkpoint(connection: Connection, projection: Projection[Any]) -> int:
    """The position of the tables. Raises ProjectionTablesDiffer, ProjectionOutdated, and StoreError where
    the checkpoint is missing or ahead of the log: then only the whole projection can be rebuilt."""
    await require_tables(connection, projection)
    head = await connection.fetchval(_SQL["head"])
    found = await connection.fetchrow(_SQL["checkpoint_and_version"], projection.name)
    if found is None or found["position"] > head:
        raise StoreError(
            f"The checkpoint of projection {projection.name!r} is missing or ahead of the log",
            expected=f"a position up to {head}",
            found="none" if found is None else f"position {found['position']}",
            fix=f"`daicho rebuild --projection {projection.name}` heals it; nothing was changed",
        )
    position: int = found["position"]
    require_version(projection, position, found["version"])
    return position
