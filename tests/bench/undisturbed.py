"""What a rebuild does to those who go on: the latency of appends at a steady rate from another process,
with a projector following, without a rebuild and during one."""

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


async def measure(ledger: Ledger, events: int, seconds: float, rate: int) -> None:
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    tenant = await ledger.tenant(tenant_id)
    await append_history(tenant, events)
    await rebuild(tenant)
    projector = Projector(tenant.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    try:
        alone, _ = await _emitting(ledger, tenant, rate, asyncio.sleep(seconds))
        meanwhile, report = await _emitting(ledger, tenant, rate, rebuild(tenant))
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await projector.close()
    _show("alone", alone)
    _show(f"during a rebuild of {report.seconds:.0f} s", meanwhile)
    print(f"latency p99 during a rebuild / alone: {_p99(meanwhile) / _p99(alone):.2f} (wanted 2 or less)")
    print(f"live tables locked for {report.swap_ms:.1f} ms (wanted 50 or less)")
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()
    print(f"live == fresh fold: {(await verify(tenant)).ok}")


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
