"""What a rebuild does to those who go on: the latency of appends at a steady rate, with a projector
following, without a rebuild and during one."""

import asyncio
import contextlib
import statistics
import time
from uuid import uuid4

from ledger import Ledger, Tenant
from projections import Projector, rebuild, verify
from tests.bench.append import event
from tests.bench.history import append_history

RATE = 2_000
TICK_SECONDS = 0.01
EVENTS = 100_000


async def measure(ledger: Ledger, seconds: float) -> None:
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    tenant = await ledger.tenant(tenant_id)
    await append_history(tenant, EVENTS)
    await rebuild(tenant)
    projector = Projector(tenant.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    try:
        alone = await _emitting(tenant, asyncio.create_task(asyncio.sleep(seconds)))
        rebuilding = asyncio.create_task(rebuild(tenant))
        meanwhile = await _emitting(tenant, rebuilding)
        report = rebuilding.result()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await projector.close()
    await _show("alone", alone)
    await _show("during a rebuild", meanwhile)
    ratio = _p99(meanwhile) / _p99(alone)
    print(f"latency p99 during a rebuild / alone: {ratio:.2f} (wanted 2 or less)")
    print(f"live tables locked for {report.swap_ms:.1f} ms (wanted 50 or less)")
    projector = Projector(tenant.store)
    await projector.catch_up()
    await projector.close()
    print(f"live == fresh fold: {(await verify(tenant)).ok}")


async def _emitting(tenant: Tenant, until: "asyncio.Task[object]") -> list[float]:
    """Latencies in ms of events emitted at a steady rate until the task is done."""
    latencies: list[float] = []
    waiting: set[asyncio.Task[None]] = set()
    number = 0

    async def emit() -> None:
        begin = time.perf_counter()
        await tenant.emitter.emit(event(tenant.tenant_id, number))
        latencies.append((time.perf_counter() - begin) * 1e3)

    due = time.perf_counter()
    while not until.done():
        for _ in range(round(RATE * TICK_SECONDS)):
            number += 1
            task = asyncio.create_task(emit())
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        due += TICK_SECONDS
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await asyncio.gather(*waiting)
    return latencies


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


async def _show(label: str, latencies: list[float]) -> None:
    median = statistics.median(latencies)
    print(f"appends {label}: {len(latencies)} events, p50 {median:.2f} ms, p99 {_p99(latencies):.2f} ms")
