"""Rebuilt events per second, in one run: ours with one worker and with one per processor; the limit (the same
tables and columns by hand-written SQL on two connections, each payload decoded once, the same indexes); and
the peer (the eventsourcing library's ProjectionRunner, one transaction per event).

    python -m tests.bench.rebuild [--events 100000 1000000 5000000] [--rounds 3] [--workers 1 2]
                                  [--home DIR] [--unchecked] [--peer-events 3000]
                                  [--undisturbed SECONDS] [--rate 2000]

Every figure is the median of the rounds, ratios are taken round by round; in a round all are measured one
after the other on the same log, each after a checkpoint. CPU is that of all processes, the server's among
them, in microseconds per event: on a machine that is busy with other things it tells more. Memory is the most
that any one process held: of ours all that is resident, of the server's what is not shared.

What SQL made is compared with what the rebuild made, row by row, unless told not to. With --home the server
and its logs are kept, and what is there is measured again; --rounds 0 fills logs and measures nothing.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from projections import rebuild
from tests.bench import projection_peer, undisturbed
from tests.bench.by_sql import differences, fill_by_sql
from tests.bench.history import append_history
from tests.bench.machine import Memory, cpu_seconds, postmaster
from tests.bench.rounds import Rounds, Turn

CORES = os.cpu_count() or 1
LIMIT, PEER = "hand-written SQL, 2 connections (the limit)", "eventsourcing ProjectionRunner"
WANTED = "0.80 or more, then 1.00"


def ours(workers: int) -> str:
    return f"rebuild, {workers} worker{'s' if workers > 1 else ''}"


class Bench:
    def __init__(self, ledger: Ledger, postgres: EmbeddedPostgres, options: argparse.Namespace) -> None:
        self._ledger = ledger
        self._postgres = postgres
        self._postmaster = postmaster(postgres.home)
        self._options = options

    async def measure(self, events: int) -> None:
        options = self._options
        tenant = await self._tenant(events)
        await self._at_rest(tenant)
        if not options.unchecked:
            await self._check(tenant, events)
        rounds = Rounds(events)
        definitions = await projection_peer.definitions(tenant)
        for _ in range(options.rounds):
            for workers in options.workers:
                work = self._rebuild(tenant, workers)
                rounds.add(ours(workers), await self._timed(tenant, events, work))
            rounds.add(LIMIT, await self._timed(tenant, events, lambda: fill_by_sql(tenant)))
            if options.peer_events:
                rate = await asyncio.to_thread(
                    projection_peer.measure, self._postgres.socket_folder, options.peer_events, definitions
                )
                rounds.add(PEER, Turn(rate))
        if options.rounds:
            self._show(rounds)

    async def _tenant(self, events: int) -> Tenant:
        """The tenant with so many events; made, filled and projected where it is not there yet."""
        tenant_id = f"bench-{events}"
        if tenant_id not in {row.tenant_id for row in await self._ledger.tenants.list()}:
            await self._ledger.tenants.create_tenant_db(tenant_id, "Benchmark")
            tenant = await self._ledger.tenant(tenant_id)
            await append_history(tenant, events)
            await rebuild(tenant)
        return await self._ledger.tenant(tenant_id)

    async def _check(self, tenant: Tenant, events: int) -> None:
        if wrong := await differences(tenant):
            raise SystemExit(f"SQL and the fold do not agree: {wrong}")
        print(f"{events:,} events: what SQL made and what the rebuild made is equal, row by row", flush=True)

    def _rebuild(self, tenant: Tenant, workers: int) -> Callable[[], Awaitable[Any]]:
        return lambda: rebuild(tenant, workers=workers)

    async def _timed(self, tenant: Tenant, events: int, work: Callable[[], Awaitable[Any]]) -> Turn:
        await self._at_rest(tenant)
        memory = Memory(self._postmaster)
        cpu, begin = cpu_seconds(self._postmaster), time.perf_counter()
        await work()
        seconds = time.perf_counter() - begin
        used = cpu_seconds(self._postmaster) - cpu
        our_mb, server_mb = memory.stop()
        turn = Turn(events / seconds, used / events * 1e6, our_mb, server_mb)
        print(f"  {seconds:7.2f} s, {turn}", flush=True)
        return turn

    async def _at_rest(self, tenant: Tenant) -> None:
        """Nothing is left to be written of what was before, and the log was read just now."""
        connection = await tenant.database.server.connect(tenant.database.name)
        try:
            await connection.execute("CHECKPOINT")
            await connection.fetchval("SELECT sum(length(payload)) FROM ledger.events")
        finally:
            await connection.close()

    def _show(self, rounds: Rounds) -> None:
        rounds.print()
        most = ours(max(self._options.workers))
        for workers in self._options.workers:
            wanted = WANTED if ours(workers) == most else "none"
            rounds.ratio(ours(workers), LIMIT, wanted=wanted)
        rounds.ratio(LIMIT, most, wanted=WANTED, of="CPU")
        if self._options.peer_events:
            print(
                f"{PEER}: takes one event per call and commits each, flushed, with its place; "
                "the same tables and indexes, all states in its memory"
            )
            rounds.ratio(most, PEER, wanted="100 or more")
            rounds.ratio(LIMIT, PEER, wanted="none")


@asynccontextmanager
async def _home(kept: Path | None) -> AsyncIterator[Path]:
    if kept is not None:
        kept.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield kept.resolve()
        return
    home = Path(tempfile.mkdtemp(prefix="daicho-bench-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[200_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, CORES])
    parser.add_argument("--home", type=Path, metavar="DIR", help="keeps server and logs there for next time")
    parser.add_argument("--unchecked", action="store_true", help="does not compare rows with SQL's")
    parser.add_argument("--peer-events", type=int, default=3_000, help="0: no peer")
    parser.add_argument("--undisturbed", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--rate", type=int, default=2_000, help="events per second appended meanwhile")
    options = parser.parse_args()
    async with _home(options.home) as home:
        with EmbeddedPostgres.start(home) as postgres:
            async with await Ledger.open(Settings(home=home, projection="external")) as ledger:
                bench = Bench(ledger, postgres, options)
                for events in options.events:
                    await bench.measure(events)
                if options.undisturbed:
                    await undisturbed.measure(
                        ledger, options.events[0], options.undisturbed, options.rate, max(1, options.rounds)
                    )


if __name__ == "__main__":
    asyncio.run(main())
