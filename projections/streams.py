"""One stream, folded afresh: what a projector does with a run of which something was erased."""

from typing import Any

from ledger.store.event_store import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection, S

_STORE_SQL = load_statements("ledger.store", "queries.sql")
READ_EVENTS = 2_000


async def folded_stream(
    connection: Connection, projection: Projection[S], tenant_id: str, run_id: str, upto: int
) -> S:
    """One stream's state, folded afresh from its events up to position `upto`."""
    state = projection.new_state(run_id)
    version = -1
    while True:
        rows: list[Any] = await connection.fetch(
            _STORE_SQL["read_stream"], run_id, version, upto, READ_EVENTS
        )
        for row in rows:
            projection.fold(state, recorded_event(tenant_id, row))
        if len(rows) < READ_EVENTS:
            return state
        version = rows[-1]["version"]
