"""Appends per second, durable and acknowledged, in one run: ours, the limit (COPY of the same rows
into the same table; a bare INSERT), and the peer (the eventsourcing library's PostgreSQL recorder).

    python -m tests.bench.append [--seconds 3] [--rounds 3]
    python -m tests.bench.append --stored 5000000   # the rate on so many, and on 10,000

Every figure is the median of the rounds; in a round all are measured one after the other, so that a
machine whose speed drifts is the same for all. Everything runs on one embedded server, fsync on.
"""

import argparse
import asyncio
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from ledger import Event, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.store.append import SALT_BYTES, encode_event
from ledger.store.tenant_database import Role
from tests.bench import peer
from tests.bench.filling import RUN_EVENTS, fill
from tests.bench.report import Report

RUNS = 200  # streams the events are spread over
CHUNK = 512
EVENTS_A_SECOND_MAX = 100_000
FEW_STORED = 10_000
Measured = tuple[float, float]
"""Events per second, and their median latency in ms."""


def event(tenant_id: str, number: int) -> Event:
    """A step.succeeded of ordinary size: about 600 bytes of payload."""
    run_id = f"run-{number % RUNS}"
    ref = {
        "path": f"storage/{tenant_id}/{run_id}/draft/output.json",
        "digest": f"{number:064x}",
        "content_type": "application/json",
        "size_bytes": 18_211,
        "created_at": "2026-11-24T12:00:00.123456+00:00",
    }
    usage = {
        "model": "m-large",
        "input_tokens": 1800,
        "output_tokens": 950,
        "cost": "0.0123",
        "currency": "USD",
    }
    return Event(
        event_type="step.succeeded",
        tenant_id=tenant_id,
        run_id=run_id,
        step_id="draft",
        attempt=1,
        actor="worker-1",
        payload={"inputs_read": [ref], "outputs": {"output": ref}, "usage": usage, "duration_ms": 8123},
    )


def events_of(tenant_id: str, count: int) -> list[Event]:
    """Made before the clock runs, as the rows for COPY are; checking, encoding and sending them is measured.

    So many objects that wait to be emitted are nothing that an application has, and nothing for the garbage
    collector to look through again and again (it took a third of the time).
    """
    made = [event(tenant_id, number) for number in range(count)]
    gc.freeze()
    return made


async def emitters(tenant: Tenant, concurrency: int, seconds: float, made: list[Event]) -> Measured:
    """Events per second and median latency in ms of so many tasks, each emitting one at a time."""
    events = iter(made)
    latencies: list[float] = []

    async def work() -> None:
        for each in events:
            begin = time.perf_counter()
            if begin >= deadline:
                return
            await tenant.emitter.emit(each)
            latencies.append(time.perf_counter() - begin)
        raise AssertionError("all events were emitted before the time was over")

    begin = time.perf_counter()
    deadline = begin + seconds
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return len(latencies) / (time.perf_counter() - begin), statistics.median(latencies) * 1e3


async def bare_insert(tenant: Tenant, seconds: float) -> Measured:
    """One row by a prepared INSERT and its commit, over asyncpg as it is, into a copy of the table with its
    constraints and indexes, and without its triggers."""
    connection = await tenant.database.connect(Role.OWNER)
    try:
        await _make_copy(connection)
        statement = await connection.prepare(
            f"INSERT INTO ledger.bench VALUES ({', '.join(f'${n}' for n in range(1, 16))})"
        )
        records = _records(tenant.tenant_id, 50_000)
        latencies = []
        begin = time.perf_counter()
        for record in records:
            at = time.perf_counter()
            if at - begin > seconds:
                break
            await statement.fetch(*record)
            latencies.append(time.perf_counter() - at)
        return len(latencies) / (time.perf_counter() - begin), statistics.median(latencies) * 1e3
    finally:
        await connection.close()


async def copy_chunks(tenant: Tenant, seconds: float) -> Measured:
    """COPY of the same rows, 512 in a transaction, each flushed, into the same copy: what disk, constraints
    and indexes allow one connection that has the rows ready, positions, versions and commitments in them.
    It numbers and hashes nothing and fires no trigger; writing the rows to the wire is measured."""
    connection = await tenant.database.connect(Role.OWNER)
    try:
        await _make_copy(connection)
        records = _records(tenant.tenant_id, 100_000)
        rows = 0
        begin = time.perf_counter()
        while rows < len(records) and time.perf_counter() - begin < seconds:
            await connection.copy_records_to_table(
                "bench", schema_name="ledger", records=records[rows : rows + CHUNK]
            )
            rows += CHUNK
        return rows / (time.perf_counter() - begin), 0.0
    finally:
        await connection.close()


async def _make_copy(connection: Any) -> None:
    await connection.execute("DROP TABLE IF EXISTS ledger.bench")
    await connection.execute("CREATE TABLE ledger.bench (LIKE ledger.events INCLUDING ALL)")


def _records(tenant_id: str, count: int) -> list[tuple[Any, ...]]:
    records = []
    for number in range(count):
        made = encode_event(event(tenant_id, number))
        records.append(
            (
                number + 1,
                number // RUNS + 1,
                made.timestamp,
                made.timestamp,
                made.event_id,
                made.attempt,
                made.schema_version,
                made.run_id,
                made.event_type.value,
                made.step_id,
                made.actor,
                made.traceparent,
                made.data,
                os.urandom(SALT_BYTES),
                os.urandom(32),
            )
        )
    return records


def processes(home: Path, tenant_id: str, count: int, per_process: int, seconds: float) -> float:
    """Events per second of so many processes with so many emitters each, all on one tenant."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.emitting",
        str(home),
        tenant_id,
        str(per_process),
        str(seconds),
    ]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for child in started:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in started:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in started)


async def fresh_tenant(ledger: Ledger) -> Tenant:
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    return await ledger.tenant(tenant_id)


async def measure_round(ledger: Ledger, postgres: EmbeddedPostgres, seconds: float, report: Report) -> None:
    async def limit(label: str, work: Callable[[Tenant, float], Awaitable[Measured]]) -> None:
        report.add(label, *await work(await fresh_tenant(ledger), seconds))

    async def ours(label: str, concurrency: int) -> None:
        tenant = await fresh_tenant(ledger)
        made = events_of(tenant.tenant_id, int(EVENTS_A_SECOND_MAX * seconds))
        report.add(label, *await emitters(tenant, concurrency, seconds, made))

    await limit("COPY in chunks of 512 (the limit)", copy_chunks)
    await limit("bare INSERT and commit, one by one", bare_insert)
    await ours("1 emitter", 1)
    await ours("32 emitters", 32)
    await ours("512 emitters", 512)
    tenant = await fresh_tenant(ledger)
    rate = await asyncio.to_thread(processes, postgres.home, tenant.tenant_id, 16, 4, seconds)
    report.add("16 processes x 4 emitters", rate)
    for threads in (1, 32, 64):
        database = f"peer_{uuid4().hex[:8]}"
        rate = await asyncio.to_thread(peer.measure, postgres.socket_folder, database, threads, seconds)
        report.add(f"eventsourcing recorder, {threads} threads", rate)


async def measure_stored(ledger: Ledger, stored: int, rounds: int, seconds: float, report: Report) -> None:
    """The same load on a short log and on a long one, by turns."""
    tenants = {}
    for count in (FEW_STORED, stored):
        tenants[count] = await fresh_tenant(ledger)
        begin = time.perf_counter()
        await fill(tenants[count], count, RUN_EVENTS)
        print(f"{count:,} events stored in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    for _ in range(rounds):
        for count, tenant in tenants.items():
            made = events_of(tenant.tenant_id, int(EVENTS_A_SECOND_MAX * seconds))
            report.add(stored_label(count), *await emitters(tenant, 32, seconds, made))


def stored_label(count: int) -> str:
    return f"32 emitters, {count:,} events stored"


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, help="compare a log of so many events with one of 10,000")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="daicho-bench-"))
    home.chmod(0o711)
    report = Report()
    try:
        with EmbeddedPostgres.start(home) as postgres:
            async with await Ledger.open(Settings(home=home, projection="external")) as ledger:
                if options.stored:
                    await measure_stored(ledger, options.stored, options.rounds, options.seconds, report)
                for _ in range(0 if options.stored else options.rounds):
                    await measure_round(ledger, postgres, options.seconds, report)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report.print()
    if options.stored:
        few, many = stored_label(FEW_STORED), stored_label(options.stored)
        report.ratio(many, few, wanted="0.90 or more")
        return
    report.ratio("32 emitters", "eventsourcing recorder, 32 threads", wanted="20 or more")
    report.ratio("512 emitters", "COPY in chunks of 512 (the limit)", wanted="0.70 or more")
    report.latency_ratio("1 emitter", "bare INSERT and commit, one by one", wanted="1.30 or less")
    report.ratio("16 processes x 4 emitters", "eventsourcing recorder, 64 threads", wanted="8 or more")


if __name__ == "__main__":
    asyncio.run(main())
