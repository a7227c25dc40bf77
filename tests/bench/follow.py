"""How long a fact takes from its acknowledgement to a row that everybody can read, at a steady rate.

    python -m tests.bench.follow [--rate 1000] [--seconds 5] [--rounds 3]

Two ways in one run: projected by the process that emits (Settings.projection = "background"), and by a
`daicho follow` in a process of its own; and the floor: how soon a connection sees the event itself. Processor
time is that of all processes, PostgreSQL and the watching connection among them, per event.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from ledger import Event, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.store.tenant_database import Role
from tests.bench.machine import cpu_seconds, postmaster

EVENTS = "SELECT position FROM ledger.head"
ROWS = "SELECT position FROM projection.checkpoints WHERE name = 'core'"
LOOK_SECONDS = 0.001


PACK = {"pack_id": "mock_pack", "version": 1, "digest": "ab" * 32}
USAGE = {"model": "m-large", "input_tokens": 1800, "output_tokens": 950, "cost": "0.0123", "currency": "USD"}


def event(tenant_id: str, number: int) -> Event:
    """Of runs with four steps each: ten events."""
    run, place = divmod(number, 10)
    run_id, step = f"run-{run}", None if place in {0, 9} else f"step-{(place - 1) // 2}"
    kind = {0: "run.started", 9: "run.succeeded"}.get(place, ("step.succeeded", "step.started")[place % 2])
    said = {"run.started": {"prompt_pack": PACK}, "step.succeeded": {"usage": USAGE}}.get(kind, {})
    return Event(event_type=kind, tenant_id=tenant_id, run_id=run_id, step_id=step, attempt=1, payload=said)


async def emit_steadily(tenant: Tenant, rate: float, seconds: float, acknowledged: dict[int, float]) -> None:
    """Each event by itself, at its time, whether or not those before it are acknowledged."""
    numbers = count()

    async def one() -> None:
        recorded = await tenant.emitter.emit(event(tenant.tenant_id, next(numbers)))
        acknowledged[recorded.position] = time.perf_counter()

    began = time.perf_counter()
    emits: set[asyncio.Task[None]] = set()
    for number in range(round(rate * seconds)):
        # Also where it is late: events that are due at once are still emitted by turns with all other work.
        await asyncio.sleep(max(0.0, number / rate - (time.perf_counter() - began)))
        task = asyncio.create_task(one())
        emits.add(task)
        task.add_done_callback(emits.discard)
    await asyncio.gather(*emits)


async def watch(tenant: Tenant, statement: str, upto: int, seen: dict[int, float]) -> None:
    """When each position was first seen to be there, by a connection that looks all the time."""
    connection = await tenant.database.connect(Role.READER)
    position = await connection.fetchval(statement)
    while position < upto:
        found = await connection.fetchval(statement)
        now = time.perf_counter()
        seen.update(dict.fromkeys(range(position + 1, found + 1), now))
        position = found
        await asyncio.sleep(LOOK_SECONDS)
    await connection.close()


async def delays(tenant: Tenant, statement: str, rate: float, seconds: float) -> list[float]:
    """Milliseconds from acknowledgement to sight, one per event; 0 where it was seen before."""
    await asyncio.sleep(1.0)
    head = await tenant.store.head()
    acknowledged: dict[int, float] = {}
    seen: dict[int, float] = {}
    async with asyncio.timeout(60):
        await asyncio.gather(
            watch(tenant, statement, head + round(rate * seconds), seen),
            emit_steadily(tenant, rate, seconds, acknowledged),
        )
    settled = [position for position in acknowledged if position > head + rate]  # the first second warms up
    return [max(0.0, seen[position] - acknowledged[position]) * 1000 for position in settled]


@asynccontextmanager
async def a_tenant(home: Path, projection: str) -> AsyncIterator[Tenant]:
    async with await Ledger.open(Settings(home=home, projection=projection)) as ledger:  # type: ignore[arg-type]
        tenant_id = uuid4().hex[:12]
        await ledger.tenants.create_tenant_db(tenant_id, "bench")
        yield await ledger.tenant(tenant_id)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="daicho-bench-"))
    folder.chmod(0o711)
    found: dict[str, list[list[float]]] = {}
    cpu: dict[str, list[float]] = {}
    with EmbeddedPostgres.start(folder / "home"):
        home = folder / "home"

        async def measure(label: str, tenant: Tenant, statement: str) -> None:
            before = cpu_seconds(postmaster(home))
            found.setdefault(label, []).append(await delays(tenant, statement, options.rate, options.seconds))
            used = cpu_seconds(postmaster(home)) - before
            cpu.setdefault(label, []).append(used / (options.rate * options.seconds) * 1e6)

        for _ in range(options.rounds):
            async with a_tenant(home, "external") as tenant:
                await measure("the event itself", tenant, EVENTS)
            async with a_tenant(home, "background") as tenant:
                await measure("its row, projected by the emitting process", tenant, ROWS)
            async with a_tenant(home, "external") as tenant:
                named = ["follow", "-t", tenant.tenant_id]
                command = [sys.executable, "-c", "from ledger.cli import main; main()", *named]
                environment = {**os.environ, "DAICHO_HOME": str(home)}
                follower = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
                try:
                    assert follower.stdout is not None
                    await asyncio.to_thread(follower.stdout.readline)  # it leads
                    await measure("its row, projected by `daicho follow`", tenant, ROWS)
                finally:
                    follower.terminate()
                    follower.wait()
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.rate:,.0f} events/s: acknowledgement to sight, median and p99 in ms; CPU us/event")
    print("(medians of rounds, and the rounds' medians)")
    for label, rounds in found.items():
        medians = [statistics.median(each) for each in rounds]
        tails = [statistics.quantiles(each, n=100)[98] for each in rounds]
        shown = " ".join(f"{each:.1f}" for each in medians)
        middle = statistics.median(medians), statistics.median(tails), statistics.median(cpu[label])
        print(f"{label:<44} {middle[0]:8.1f} {middle[1]:8.1f} {middle[2]:8.0f}   {shown}")
    print("wanted: below 20 ms (median)")


if __name__ == "__main__":
    asyncio.run(main())
