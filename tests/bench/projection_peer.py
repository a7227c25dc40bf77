"""The peer of a rebuild: the eventsourcing library's ProjectionRunner, which takes one event per call and
commits one transaction per event, flushed, its place in the same.

It makes the tables that a rebuild makes, with their indexes, from the same history: our fold with all states
in memory, so that nothing is loaded, and one prepared statement per row that an event touched.
"""

import random
import time
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ledger import Tenant
from ledger.contract.events import EventType, RecordedEvent
from ledger.store.tenant_database import Role
from projections.core import CORE
from projections.fold import RunState
from projections.rows import Json, Row, columns, kinds_of
from projections.table_sql import SCHEMA, listed, qualified
from projections.tables import table_of
from tests.bench.history import records_of

TENANT = "peer"
_INDEXES = f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{SCHEMA}' AND tablename = ANY($1)"


class Run(Aggregate):
    class Recorded(Aggregate.Event):
        run_id: str
        event_type: str
        step_id: str | None
        attempt: int | None
        occurred_at: datetime
        data: str

    @event(Recorded)
    def record(
        self,
        run_id: str,
        event_type: str,
        step_id: str | None,
        attempt: int | None,
        occurred_at: datetime,
        data: str,
    ) -> None:
        """What is recorded matters to the projection alone."""


class Runs(Application[Any]):
    pass


class View(PostgresTrackingRecorder):
    """`rows` go into the tables of the projection, with the place of the event that they came from."""

    def __init__(self, datastore: PostgresDatastore, **options: Any) -> None:
        super().__init__(datastore, **options)
        self._upserts = {row_type: _upsert(row_type) for row_type in CORE.tables}
        self._values = {row_type: attrgetter(*columns(row_type)) for row_type in CORE.tables}
        self._json = {row_type: _json_columns(row_type) for row_type in CORE.tables}

    def write(self, rows: Sequence[Row], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            for row in rows:
                cursor.execute(self._upserts[type(row)], self._of(row), prepare=True)

    def _of(self, row: Row) -> list[Any]:
        values = list(self._values[type(row)](row))
        for place in self._json[type(row)]:
            if values[place] is not None:
                values[place] = orjson.dumps(values[place], option=orjson.OPT_SORT_KEYS).decode()
        return values


class Everything(Projection[View]):
    name = "everything"
    topics = (get_topic(Run.Recorded),)

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._states: dict[UUID, RunState] = {}

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise NotImplementedError(type(domain_event))

    @process_event.register
    def _(self, recorded: Run.Recorded, tracking: Tracking) -> None:
        state = self._states.get(recorded.originator_id)
        if state is None:
            state = self._states[recorded.originator_id] = CORE.new_state(recorded.run_id)
        CORE.fold(state, _as_ours(recorded, tracking.notification_id))
        self.view.write(state.take_touched(), tracking)


def _as_ours(recorded: Run.Recorded, position: int) -> RecordedEvent:
    return RecordedEvent(
        position=position,
        version=recorded.originator_version - 1,  # the aggregate's first event says that there is one
        recorded_at=recorded.timestamp,
        event_id=UUID(int=position),
        event_type=EventType(recorded.event_type),
        tenant_id=TENANT,
        run_id=recorded.run_id,
        step_id=recorded.step_id,
        attempt=recorded.attempt,
        timestamp=recorded.occurred_at,
        actor="worker-1",
        traceparent=None,
        schema_version=1,
        data=recorded.data.encode(),
    )


def _upsert(row_type: type[Row]) -> bytes:
    names = columns(row_type)
    values = ", ".join(
        "%s::json" if place in _json_columns(row_type) else "%s" for place in range(len(names))
    )
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in row_type.KEY)
    return (
        f"INSERT INTO {qualified(row_type)} ({listed(names)}) VALUES ({values}) "
        f"ON CONFLICT ({listed(row_type.KEY)}) DO {f'UPDATE SET {changed}' if changed else 'NOTHING'}"
    ).encode()


def _json_columns(row_type: type[Row]) -> list[int]:
    return [place for place, kind in enumerate(columns(row_type).values()) if Json in kinds_of(kind)]


async def definitions(tenant: Tenant) -> list[str]:
    """Statements that make the projection's tables and their indexes as they are in a tenant's database."""
    connection = await tenant.database.connect(Role.PROJECTOR)
    try:
        tables = [row_type.TABLE for row_type in CORE.tables]
        indexes = [row[0] for row in await connection.fetch(_INDEXES, tables)]
    finally:
        await connection.close()
    made = [str(CreateTable(table_of(kind)).compile(dialect=postgresql.dialect())) for kind in CORE.tables]
    keys = [f"{table}_pkey" for table in tables]
    return [f"CREATE SCHEMA {SCHEMA}", *made, *(each for each in indexes if each.split()[3] not in keys)]


def measure(socket_folder: Path, events: int, definitions: Sequence[str]) -> float:
    """Events per second until the tables hold what all of them come to."""
    database = f"peer_{uuid4().hex[:8]}"
    _make(socket_folder, database, definitions)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": database,
        "POSTGRES_HOST": str(socket_folder),
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "",
    }
    last = _record(env, events)
    begin = time.perf_counter()
    with ProjectionRunner(
        application_class=Runs, projection_class=Everything, view_class=View, env=env
    ) as runner:
        runner.wait(last, timeout=600)
    return events / (time.perf_counter() - begin)


def _make(socket_folder: Path, database: str, definitions: Sequence[str]) -> None:
    def connect(name: str) -> psycopg.Connection:
        return psycopg.connect(host=str(socket_folder), user="postgres", dbname=name, autocommit=True)

    with connect("postgres") as admin:
        admin.execute(f'CREATE DATABASE "{database}"'.encode())
    with connect(database) as owner:
        for statement in definitions:
            owner.execute(statement.encode())


def _record(env: dict[str, str], events: int) -> int:
    """Records a history, in its order; returns the notification of its last event."""
    application = Runs(env)
    runs: dict[str, Run] = {}
    last = 0
    for row in records_of(TENANT, events, random.Random(1)):
        occurred_at, attempt, run_id, event_type, step_id, data = row[3], row[5], *row[7:10], row[12]
        run = runs.get(run_id)
        if run is None:
            run = runs[run_id] = Run()
        run.record(run_id, event_type, step_id, attempt, occurred_at, data.decode())
        last = application.save(run)[-1].notification.id
    application.close()
    return last
