"""Catching up: events recorded while the new tables were filled.

The rows are the fold's state, so where all tables of a projection are made anew, it goes on in them as a
projector does in the live ones; but nobody looks at them yet, so what a page of events changes is written
with what the next ones change, each row once, and rows that are not there yet are copied. One table alone
does not hold the state: there, the streams of those events are folded again, whole, and the new rows take the
old ones' place; so are, everywhere, the streams of events that were erased meanwhile.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from ledger.contract.events import RecordedEvent
from ledger.store.recorded import recorded_event
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.copy_format import encoder_of, record_encoder_of
from projections.definition import Projection, State
from projections.live_tables import first_of_stream, streams_to_fold_again, write_rows
from projections.projector import RUNS_REMEMBERED_MAX
from projections.rebuilding.filling import Copying, Digests, copy_rows
from projections.rebuilding.new_tables import NewTable
from projections.rows import Row, columns, from_record, key_of
from projections.table_sql import SCHEMA, listed, select_by_run
from projections.workers.job import Folded
from projections.workers.reading import fold_one, folded, pages_of_streams

EVENTS_AT_ONCE = 500
ROWS_AT_ONCE = 1_000
ROWS_CHANGED_MAX = 20_000
STREAMS_AT_ONCE = 200

T = TypeVar("T")

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
    _changed: dict[int, Row] = field(default_factory=dict)
    """Rows to be written, by identity."""

    def __post_init__(self) -> None:
        self._names = {table.row_type: table.name for table in self.tables}

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
        await self._write()

    async def _go_on(self, events: Sequence[RecordedEvent]) -> None:
        touched = {event.run_id for event in events}
        if len(self._states.keys() | touched) > RUNS_REMEMBERED_MAX:
            await self._forget()
        unknown = touched - self._states.keys()
        begun = unknown & {event.run_id for event in events if first_of_stream(event)}
        await self._load(unknown - begun)
        self._states |= {run_id: self.projection.new_state(run_id) for run_id in begun}
        for event in events:
            fold_one(self.projection, self._states[event.run_id], event)
        for run_id in touched:
            self._changed |= {id(row): row for row in self._states[run_id].take_touched()}
        if len(self._changed) > ROWS_CHANGED_MAX:
            await self._write()

    async def _load(self, run_ids: set[str]) -> None:
        self._states |= {run_id: self.projection.new_state(run_id) for run_id in run_ids}
        for row_type, name in self._names.items():
            named = [run_id for run_id in run_ids if row_type in self.projection.state_tables(run_id)]
            encode = record_encoder_of(row_type)
            for record in await self.connection.fetch(select_by_run(row_type, name), named) if named else ():
                self._known[row_type, *(record[key] for key in row_type.KEY)] = encode(record)
                self._states[record["run_id"]].add(from_record(row_type, record))

    async def _forget(self) -> None:
        await self._write()
        self._states.clear()
        self._known.clear()

    async def _write(self) -> None:
        for rows in _parts(self._changed.values(), ROWS_AT_ONCE):
            await self._write_some(rows)
        self._changed.clear()

    async def _write_some(self, rows: Sequence[Row]) -> None:
        new: dict[type[Row], list[bytes]] = {}
        changed: list[Row] = []
        for row in rows:
            row_type = type(row)
            key = (row_type, *key_of(row))
            encoded = encoder_of(row_type)(row)
            if key in self._known:
                self.digests[row_type].remove([self._known[key]])
                self.digests[row_type].add([encoded])
                changed.append(row)
            else:
                new.setdefault(row_type, []).append(encoded)
            self._known[key] = encoded
        for row_type, encoded_rows in new.items():
            self.digests[row_type].add(encoded_rows)
            await copy_rows(self.connection, self._names[row_type], row_type, encoded_rows)
        await write_rows(self.connection, changed, self._names)

    async def _fold_again(self, streams: Sequence[str], upto: int) -> None:
        if streams:
            await self._forget()
        for some in _parts(streams, STREAMS_AT_ONCE):
            for table in self.tables:
                self.digests[table.row_type].remove(await self._delete(table, some))
            copying = Copying(self.connection, self._names)
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


def _parts(values: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part
