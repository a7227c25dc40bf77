"""A process that emits at a steady rate: says `ready`, emits until a line comes, prints its latencies in ms,
each with the time it began at (the monotonic clock, which is the machine's).

Where the machine cannot keep up, it lets go of the rate and never has more than some hundred under way."""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from ledger import Ledger, Settings
from tests.bench.append import event

TICK_SECONDS = 0.01
UNDER_WAY_MAX = 300


async def main(home: str, tenant_id: str, rate: str) -> None:
    async with await Ledger.open(Settings(home=Path(home), projection="external")) as ledger:
        emitter = (await ledger.tenant(tenant_id)).emitter
        latencies: list[tuple[float, float]] = []
        under_way: set[asyncio.Task[None]] = set()

        async def emit(number: int) -> None:
            begin = time.monotonic()
            await emitter.emit(event(tenant_id, number))
            latencies.append((begin, (time.monotonic() - begin) * 1e3))

        await emit(0)
        latencies.clear()
        gc.freeze()  # or a collection of all that was imported makes some hundred events wait
        print("ready", flush=True)
        stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        number, due = 0, time.perf_counter()
        while not stop.done():
            for _ in range(min(round(int(rate) * TICK_SECONDS), UNDER_WAY_MAX - len(under_way))):
                number += 1
                task = asyncio.create_task(emit(number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due = max(due + TICK_SECONDS, time.perf_counter() - 1.0)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.gather(*under_way)
        print(json.dumps(latencies), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
