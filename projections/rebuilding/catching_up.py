"""Catching up: events recorded while the new tables were filled.

The rows are the fold's state, so where all tables of a projection are made anew, it goes on in them as a
projector does in the live ones. One table alone does not hold the state: there, the streams of those events
are folded again, whole, and the new rows take the old ones' place; so are, everywhere, the streams of events
that were erased meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.contract.events import RecordedEvent
from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.copy_format import encoder_of, record_encoder_of
from projections.definition import Projection, State
from projections.live_tables import streams_to_fold_again, write_rows
from projections.projector import RUNS_REMEMBERED_MAX
from projections.rebuilding.filling import Copying, Digests
from projections.rebuilding.new_tables import NewTable
from projections.rows import columns, from_record, key_of
from projections.table_sql import SCHEMA, listed, select_by_run
from projections.workers.job import Folded
from projections.workers.reading import fold_one, folded, pages_of_streams

EVENTS_AT_ONCE = 2_000
STREAMS_AT_ONCE = 200

_STORE_SQL = load_statements("ledger.store", "queries.sql")

Known = dict[tuple[Any, ...], bytes]
"""Rows that are in the new tables, by class and key."""


@dataclass
class CatchUp:
    """On `connection`, which is in a transaction whenever it is asked to do something. It remembers streams
    and their rows, as a projector does."""

    connection: Connection
    projection: Projection[Any]
    tenant_id: str
    tables: Sequence[NewTable]
    digests: Digests
    is_whole: bool
    tell: Folded
    _states: dict[str, State] = field(default_factory=dict)
    _known: Known = field(default_factory=dict)

    async def advance(self, position: int, upto: int) -> None:
        """Brings tables and digests from one position to another."""
        while position < upto:
            next_position = min(position + EVENTS_AT_ONCE, upto)
            rows = await self.connection.fetch(_STORE_SQL["read_range"], position, next_position)
            events = [recorded_event(self.tenant_id, row) for row in rows]
            again = await streams_to_fold_again(self.connection, events)
            if self.is_whole:
                await self._go_on([event for event in events if event.run_id not in again])
                self.tell(len(events))
            else:
                again |= {event.run_id for event in events}
            await self._fold_again(sorted(again), next_position)
            position = next_position

    async def _go_on(self, events: Sequence[RecordedEvent]) -> None:
        touched = {event.run_id for event in events}
        if len(self._states.keys() | touched) > RUNS_REMEMBERED_MAX:
            self._forget()
        await self._load(touched - self._states.keys())
        for event in events:
            fold_one(self.projection, self._states[event.run_id], event)
        rows = [row for run_id in touched for row in self._states[run_id].take_touched()]
        for row in rows:
            key = (type(row), *key_of(row))
            digest = self.digests[type(row)]
            if key in self._known:
                digest.remove([self._known[key]])
            self._known[key] = encoder_of(type(row))(row)
            digest.add([self._known[key]])
        await write_rows(self.connection, rows, {table.row_type: table.name for table in self.tables})

    async def _load(self, run_ids: set[str]) -> None:
        self._states |= {run_id: self.projection.new_state(run_id) for run_id in run_ids}
        for table in self.tables:
            row_type = table.row_type
            named = [run_id for run_id in run_ids if row_type in self.projection.state_tables(run_id)]
            encode = record_encoder_of(row_type)
            for record in await self.connection.fetch(select_by_run(row_type, table.name), named):
                self._known[row_type, *(record[name] for name in row_type.KEY)] = encode(record)
                self._states[record["run_id"]].add(from_record(row_type, record))

    def _forget(self) -> None:
        self._states.clear()
        self._known.clear()

    async def _fold_again(self, streams: Sequence[str], upto: int) -> None:
        if streams:
            self._forget()
        for some in _parts(streams):
            for table in self.tables:
                self.digests[table.row_type].remove(await self._delete(table, some))
            copying = Copying(self.connection, {table.row_type: table.name for table in self.tables})
            pages = pages_of_streams(self.connection, some, upto)
            states = [state async for state in folded(pages, self.projection, self.tenant_id, self.tell)]
            for state in states:
                await copying.add(state)
            await copying.finish()
            for row_type, digest in copying.digests.items():
                self.digests[row_type].merge(digest)

    async def _delete(self, table: NewTable, streams: Sequence[str]) -> list[bytes]:
        names = listed(columns(table.row_type))
        rows = await self.connection.fetch(
            f'DELETE FROM {SCHEMA}."{table.name}" WHERE run_id = ANY($1) RETURNING {names}', streams
        )
        return list(map(record_encoder_of(table.row_type), rows))


def _parts(streams: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(streams), STREAMS_AT_ONCE):
        yield streams[start : start + STREAMS_AT_ONCE]
