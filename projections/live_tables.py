"""What a projector asks of the live tables and writes to them: few statements, for each one waits for a
processor twice. Rows and checkpoint are written by one statement, which all tables are named in.

Whoever waits for the checkpoint's row does so with no table locked: a rebuild that holds it is about to
exchange the tables, and would wait for them in turn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ledger.contract.events import RecordedEvent
from ledger.store.server import Connection
from ledger.store.statements import load_statements
from projections.definition import Projection, S
from projections.fold import erased_position
from projections.rows import Row, columns, from_record, to_columns
from projections.table_sql import select_by_run, upsert

_SQL = load_statements("projections", "queries.sql")


class Checkpoint(NamedTuple):
    """`version` is None while nothing is projected; `rebuilds` counts how often the tables were made anew."""

    position: int
    version: int | None
    rebuilds: int


def first_of_stream(event: RecordedEvent) -> bool:
    """Whether the tables surely hold nothing of the stream before this event. Versions begin at 1; those that
    an application of the eventsourcing library gives, whose streams have a slash, at 0 or 1."""
    return event.version == 0 or (event.version == 1 and "/" not in event.run_id)


def records_erasure(events: Iterable[RecordedEvent]) -> bool:
    return any(erased_position(event) is not None for event in events)


async def streams_to_fold_again(connection: Connection, events: Sequence[RecordedEvent]) -> set[str]:
    """The streams of the events whose erasure is recorded among `events`."""
    positions = [position for event in events if (position := erased_position(event)) is not None]
    if not positions:
        return set()
    rows = await connection.fetch(_SQL["streams_of_positions"], positions)
    return {row["stream_id"] for row in rows}


async def load_states(
    connection: Connection, projection: Projection[S], run_ids: Sequence[str]
) -> dict[str, S]:
    """The states of these streams as the tables hold them; empty where they hold nothing."""
    states = {run_id: projection.new_state(run_id) for run_id in run_ids}
    wanted: dict[type[Row], list[str]] = {}
    for run_id in states:
        for row_type in projection.state_tables(run_id):
            wanted.setdefault(row_type, []).append(run_id)
    for row_type, named in wanted.items():
        for record in await connection.fetch(select_by_run(row_type), named):
            states[record["run_id"]].add(from_record(row_type, record))
    return states


async def lock_checkpoint(connection: Connection, name: str) -> Checkpoint | None:
    """To the end of the transaction; waits for whoever holds it."""
    found = await connection.fetchrow(_SQL["lock_checkpoint"], name)
    return None if found is None else Checkpoint(*found)


async def advance(
    connection: Connection,
    projection: Projection[Any],
    found: Checkpoint,
    position: int,
    rows: Sequence[Row],
) -> bool:
    """Writes rows, of which no two have the same key, and moves the checkpoint to `position`. False, and
    nothing is written, where it is not as it was `found` or where somebody else holds it."""
    by_type = _by_type(rows, projection.tables)
    moved = await connection.fetchval(
        _advance_statement(tuple(by_type)),
        projection.name,
        *found,
        position,
        projection.version,
        *_arguments(by_type),
    )
    return bool(moved)


async def write_rows(connection: Connection, rows: Sequence[Row], names: Mapping[type[Row], str]) -> None:
    """Inserts or replaces rows, of which no two have the same key, in the tables named."""
    by_type = _by_type(rows, tuple(names))
    if by_type:
        writes = ", ".join(_writes(by_type, names=names))
        await connection.execute(f"WITH {writes} SELECT", *_arguments(by_type))


def _by_type(rows: Sequence[Row], tables: Sequence[type[Row]]) -> dict[type[Row], list[Row]]:
    """In the order of the tables, so that there are few different statements."""
    found: dict[type[Row], list[Row]] = {row_type: [] for row_type in tables}
    for row in rows:
        found[type(row)].append(row)
    return {row_type: of_type for row_type, of_type in found.items() if of_type}


def _arguments(by_type: Mapping[type[Row], Sequence[Row]]) -> list[Any]:
    return [column for of_type in by_type.values() for column in to_columns(of_type)]


@lru_cache(maxsize=100)  # as many as a connection keeps prepared
def _advance_statement(row_types: tuple[type[Row], ...]) -> str:
    writes = _writes(row_types, first_parameter=7, condition="EXISTS (SELECT FROM moved)")
    return _SQL["advance"].replace("-- writes", "".join(f", {write}" for write in writes))


def _writes(
    row_types: Iterable[type[Row]],
    *,
    names: Mapping[type[Row], str] | None = None,
    first_parameter: int = 1,
    condition: str = "true",
) -> Iterator[str]:
    """One upsert per table, as parts of a WITH."""
    parameter = first_parameter
    for number, row_type in enumerate(row_types):
        table = None if names is None else names[row_type]
        write = upsert(row_type, table, first_parameter=parameter, condition=condition)
        yield f"write_{number} AS ({write})"
        parameter += len(columns(row_type))
