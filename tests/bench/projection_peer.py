"""The peer of a rebuild: the eventsourcing library's ProjectionRunner, which takes one event per call and
commits one transaction per event, its place in the same. Its table counts what each step's attempts did."""

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

EVENTS_OF_RUN = 33
STEPS = ("keywords", "outline", "draft", "validate", "links", "render")
OUTPUTS = {"output": {"path": "storage/t/run/draft/output.json", "digest": "ab" * 32, "size_bytes": 18_211}}


class Run(Aggregate):
    class Ended(Aggregate.Event):
        step_id: str
        outputs: dict[str, Any]

    @event(Ended)
    def end(self, step_id: str, outputs: dict[str, Any]) -> None:
        pass


class Runs(Application[Any]):
    pass


class StepsView(PostgresTrackingRecorder):
    def __init__(self, datastore: PostgresDatastore, **options: Any) -> None:
        super().__init__(datastore, **options)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS public.steps (run_id uuid, step_id text, attempts bigint, "
                "outputs json, PRIMARY KEY (run_id, step_id))"
            )  # type: ignore[arg-type]
        )

    def ended(self, ended: Run.Ended, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO public.steps VALUES (%s, %s, 1, %s) ON CONFLICT (run_id, step_id) DO UPDATE "
                "SET attempts = steps.attempts + 1, outputs = excluded.outputs",
                (ended.originator_id, ended.step_id, psycopg.types.json.Json(ended.outputs)),
                prepare=True,
            )


class Steps(Projection[StepsView]):
    name = "steps"
    topics = (get_topic(Run.Ended),)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise NotImplementedError(type(domain_event))

    @process_event.register
    def _(self, domain_event: Run.Ended, tracking: Tracking) -> None:
        self.view.ended(domain_event, tracking)


def measure(socket_folder: Path, events: int) -> float:
    """Events per second until its table holds all of them."""
    database = f"peer_{uuid4().hex[:8]}"
    with psycopg.connect(
        host=str(socket_folder), user="postgres", dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f'CREATE DATABASE "{database}"')  # type: ignore[arg-type]
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
        application_class=Runs, projection_class=Steps, view_class=StepsView, env=env
    ) as runner:
        runner.wait(last, timeout=600)
    return events / (time.perf_counter() - begin)


def _record(env: dict[str, str], events: int) -> int:
    application = Runs(env)
    last = 0
    for _ in range(0, events, EVENTS_OF_RUN):
        run = Run()
        for number in range(EVENTS_OF_RUN):
            run.end(step_id=STEPS[number % len(STEPS)], outputs=OUTPUTS)
        last = application.save(run)[-1].notification.id
    application.close()
    return last
