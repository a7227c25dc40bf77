"""The peer: the eventsourcing library's PostgreSQL recorder, one event per call from many threads."""

import threading
import time
from pathlib import Path
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

STATE = b"x" * 900  # as many bytes as one of our events carries, payload and envelope


def measure(socket_folder: Path, database: str, threads: int, seconds: float) -> float:
    """Events per second of so many threads, each inserting one event at a time, each acknowledged."""
    with psycopg.connect(
        host=str(socket_folder), user="postgres", dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f'CREATE DATABASE "{database}"')
    datastore = PostgresDatastore(
        dbname=database,
        host=str(socket_folder),
        port="5432",
        user="postgres",
        password="",
        pool_size=threads,
        max_overflow=threads,
    )
    recorder = PostgresApplicationRecorder(datastore, events_table_name="stored_events")
    recorder.create_table()
    counts = [0] * threads
    start = threading.Barrier(threads + 1)
    deadline = [0.0]

    def work(index: int) -> None:
        start.wait()
        while time.perf_counter() < deadline[0]:
            recorder.insert_events([StoredEvent(uuid4(), 1, "topic", STATE)])
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    begin = time.perf_counter()
    deadline[0] = begin + seconds
    start.wait()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - begin
    datastore.close()
    return sum(counts) / elapsed
