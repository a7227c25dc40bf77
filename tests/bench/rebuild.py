"""Rebuilt events per second, in one run: ours with one worker and with one per processor; the limit (the same
tables and columns by hand-written SQL on two connections, each payload decoded once, the same indexes); and
the peer (the eventsourcing library's ProjectionRunner, one transaction per event).

    python -m tests.bench.rebuild [--events 200000 1000000] [--rounds 3] [--peer-events 3000]
                                  [--undisturbed SECONDS] [--rate 2000]

Every figure is the median of the rounds, ratios are taken round by round. CPU is that of all processes, the
server's among them, in microseconds per event: on a machine that is busy with other things it tells more.
What SQL made is compared with what the rebuild made, row by row.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from projections import rebuild
from tests.bench import projection_peer, undisturbed
from tests.bench.by_sql import differences, fill_by_sql
from tests.bench.history import append_history
from tests.bench.machine import Memory, cpu_seconds, postmaster
from tests.bench.report import Report

CORES = os.cpu_count() or 1
ONE, ALL = "rebuild, 1 worker", f"rebuild, {CORES} workers"
LIMIT, PEER = "hand-written SQL, 2 connections (the limit)", "eventsourcing ProjectionRunner"


async def measure(tenant: Tenant, postmaster: int, events: int, report: Report) -> None:
    async def timed(label: str, work: Callable[[], Awaitable[Any]]) -> None:
        cpu, begin = cpu_seconds(postmaster), time.perf_counter()
        await work()
        seconds = time.perf_counter() - begin
        used = cpu_seconds(postmaster) - cpu
        report.add(f"{label}, {events:,} events", events / seconds, used / events * 1e6)

    await timed(ONE, lambda: rebuild(tenant, workers=1))
    await timed(LIMIT, lambda: fill_by_sql(tenant))
    await timed(ALL, lambda: rebuild(tenant, workers=CORES))


async def measure_size(
    ledger: Ledger, postgres: EmbeddedPostgres, events: int, options: argparse.Namespace, report: Report
) -> None:
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    tenant = await ledger.tenant(tenant_id)
    await append_history(tenant, events)
    await rebuild(tenant)  # tables and caches as they are in use
    if wrong := await differences(tenant):
        raise SystemExit(f"SQL and the fold do not agree: {wrong}")
    print(f"{events:,} events: what SQL made and what the rebuild made is equal, row by row", flush=True)
    memory = Memory()
    definitions = await projection_peer.definitions(tenant)
    for _ in range(options.rounds):
        await measure(tenant, postmaster(postgres.home), events, report)
        rate = await asyncio.to_thread(
            projection_peer.measure, postgres.socket_folder, options.peer_events, definitions
        )
        report.add(f"{PEER}, {events:,} events", rate)
    print(f"{events:,} events: {memory.stop():.0f} MB at most in any of our processes", flush=True)


def _show(report: Report, sizes: list[int]) -> None:
    report.print(latency="CPU us/event")
    print(
        f"{PEER}: takes one event per call and commits each, flushed, with its place; "
        "the same tables and indexes, all states in its memory"
    )
    for events in sizes:
        of_size = f", {events:,} events"
        report.ratio(ALL + of_size, LIMIT + of_size, wanted="0.80 or more, then 1.00")
        report.ratio(ONE + of_size, LIMIT + of_size, wanted="none")
        report.latency_ratio(LIMIT + of_size, ALL + of_size, wanted="0.80 or more, then 1.00", what="CPU")
        report.ratio(ALL + of_size, PEER + of_size, wanted="100 or more")


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[200_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-events", type=int, default=3_000)
    parser.add_argument("--undisturbed", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--rate", type=int, default=2_000, help="events per second appended meanwhile")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="daicho-bench-"))
    home.chmod(0o711)
    report = Report()
    try:
        with EmbeddedPostgres.start(home) as postgres:
            async with await Ledger.open(Settings(home=home, projection="external")) as ledger:
                for events in options.events:
                    await measure_size(ledger, postgres, events, options, report)
                _show(report, options.events)
                if options.undisturbed:
                    await undisturbed.measure(
                        ledger, options.events[0], options.undisturbed, options.rate, options.rounds
                    )
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
