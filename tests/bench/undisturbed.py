"""What a rebuild does to those who go on: the latency of appends at a steady rate from another process,
with a projector following, without a rebuild and during one; several times in turn.

The server is as one that has been in use: it has WAL files to use again. Making one anew, 16 MB of zeroes,
holds up every commit for 10 to 50 ms, with and without a rebuild."""

import asyncio
import contextlib
import json
import statistics
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

from ledger import Ledger, Tenant
from projections import Projector, rebuild, verify
from tests.bench.history import append_history

WAL_MEGABYTES = 1_100


async def measure(ledger: Ledger, events: int, seconds: float, rate: int, rounds: int) -> None:
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    tenant = await ledger.tenant(tenant_id)
    await append_history(tenant, events)
    await rebuild(tenant)
    ratios: list[float] = []
    swaps: list[float] = []
    projector = Projector(tenant.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    try:
        for _ in range(rounds):
            await _recycle_wal(tenant)
            alone, _ = await _emitting(ledger, tenant, rate, asyncio.sleep(seconds))
            meanwhile, report = await _emitting(ledger, tenant, rate, rebuild(tenant))
            _show("alone", alone)
            _show(f"during a rebuild of {report.seconds:.0f} s", meanwhile)
            ratios.append(_p99(meanwhile) / _p99(alone))
            swaps.append(report.swap_ms)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await projector.close()
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"latency p99 during a rebuild / alone: {statistics.median(ratios):.2f} ({shown}; wanted 2 or less)"
    )
    print(f"live tables locked for {max(swaps):.1f} ms at most (wanted 50 or less)")
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()
    print(f"live == fresh fold: {(await verify(tenant)).ok}")


async def _recycle_wal(tenant: Tenant) -> None:
    connection = await tenant.database.server.connect()
    try:
        for _ in range(WAL_MEGABYTES):
            await connection.execute("SELECT pg_logical_emit_message(false, 'bench', repeat('x', 1000000))")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _emitting(
    ledger: Ledger, tenant: Tenant, rate: int, work: Awaitable[Any]
) -> tuple[list[float], Any]:
    """Latencies in ms of events emitted while `work` goes on, and its result."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.steady", str(ledger.settings.home), tenant.tenant_id, str(rate),
        stdin=PIPE, stdout=PIPE, limit=2**26,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    result = await work
    child.stdin.write(b"stop\n")
    await child.stdin.drain()
    latencies = json.loads(await child.stdout.readline())
    await child.wait()
    return latencies, result


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def _show(label: str, latencies: list[float]) -> None:
    median = statistics.median(latencies)
    print(f"appends {label}: {len(latencies)} events, p50 {median:.2f} ms, p99 {_p99(latencies):.2f} ms")
