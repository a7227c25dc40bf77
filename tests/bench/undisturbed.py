"""What a rebuild does to those who go on: the latency of appends at a steady rate from another process,
with a projector following, without a rebuild and during one; in several rounds. Appends that are slower
than 99 of 100 are without a rebuild are told by the phase of the rebuild in which they began.

The server is as one that has been in use: it has WAL files to use again. Making one anew, 16 MB of zeroes,
holds up every commit for 10 to 50 ms, with and without a rebuild."""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

from ledger import Ledger, Tenant
from projections import Projector, rebuild, verify
from tests.bench.history import append_history

WAL_MEGABYTES = 1_100


class Latency(NamedTuple):
    begun: float
    """By the monotonic clock."""
    ms: float


class Phases:
    """When each phase of a rebuild began."""

    def __init__(self) -> None:
        self._begun: list[tuple[float, str]] = [(0.0, "beginning")]

    def progress(self, phase: str, done: int, total: int) -> None:
        if phase != self._begun[-1][1]:
            self._begun.append((time.monotonic(), phase))

    def show(self, latencies: Sequence[Latency], slow_ms: float) -> None:
        """Of each phase: how long it took, its p99, and how many of its appends were slow."""
        ends = [begun for begun, _ in self._begun[1:]] + [float("inf")]
        for (begun, phase), end in zip(self._begun, ends, strict=True):
            within = [latency for latency in latencies if begun <= latency.begun < end]
            if len(within) > 1:
                seconds = within[-1].begun - within[0].begun
                slow = sum(latency.ms > slow_ms for latency in within)
                share = slow / len(within)
                print(f"  {phase}, {seconds:.1f} s: p99 {_p99(within):.2f} ms, {slow} slow ({share:.1%})")


class Round(NamedTuple):
    ratio: float
    swap_ms: float
    is_equal: bool
    """Whether the live tables equal a fresh fold at the end."""


async def measure(ledger: Ledger, events: int, seconds: float, rate: int, rounds: int) -> None:
    done = [await _round(ledger, events, seconds, rate) for _ in range(rounds)]
    ratios = [each.ratio for each in done]
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"latency p99 during a rebuild / alone: {statistics.median(ratios):.2f} ({shown}; wanted 2 or less)"
    )
    print(f"live tables locked for {max(each.swap_ms for each in done):.1f} ms at most (wanted 50 or less)")
    print(f"live == fresh fold: {all(each.is_equal for each in done)}")


async def _round(ledger: Ledger, events: int, seconds: float, rate: int) -> Round:
    """With a tenant of its own: a log is larger after a round than before it."""
    tenant_id = f"bench-{uuid4().hex[:8]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
    tenant = await ledger.tenant(tenant_id)
    await append_history(tenant, events)
    await rebuild(tenant)
    async with _followed(tenant):
        await _recycle_wal(tenant)
        alone, _ = await _emitting(ledger, tenant, rate, asyncio.sleep(seconds))
        phases = Phases()
        work = rebuild(tenant, progress=phases.progress)
        meanwhile, report = await _emitting(ledger, tenant, rate, work)
    _show("alone", alone)
    _show(f"during a rebuild of {report.seconds:.0f} s", meanwhile)
    phases.show(meanwhile, _p99(alone))
    return Round(_p99(meanwhile) / _p99(alone), report.swap_ms, (await verify(tenant)).ok)


@asynccontextmanager
async def _followed(tenant: Tenant) -> AsyncIterator[None]:
    """A projector follows, and is at the head in the end."""
    projector = Projector(tenant.store)
    following = asyncio.create_task(projector.run_until_cancelled())
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await projector.catch_up()
        await projector.close()


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
) -> tuple[list[Latency], Any]:
    """Latencies of events emitted while `work` goes on, and its result."""
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
    latencies = [Latency(*pair) for pair in json.loads(await child.stdout.readline())]
    await child.wait()
    return latencies, result


def _p99(latencies: Sequence[Latency]) -> float:
    return statistics.quantiles([latency.ms for latency in latencies], n=100)[98]


def _show(label: str, latencies: Sequence[Latency]) -> None:
    median = statistics.median(latency.ms for latency in latencies)
    print(f"appends {label}: {len(latencies)} events, p50 {median:.2f} ms, p99 {_p99(latencies):.2f} ms")
