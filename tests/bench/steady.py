"""A process that emits what pipelines say (history.py) at a steady rate: says `ready`, emits until a line
comes, prints its latencies in ms, each with when it began (by the monotonic clock, which is the machine's).

Where the machine cannot keep up, it lets go of the rate and never has more than some hundred under way."""

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ledger import Event, Ledger, Settings
from tests.bench.history import interleaved

TICK_SECONDS = 0.01
UNDER_WAY_MAX = 300
MADE_BEFORE = 60_000
"""Making an event takes as long as emitting it, and is nothing that is to be measured."""


async def main(home: str, tenant_id: str, rate: str) -> None:
    async with await Ledger.open(Settings(home=Path(home), projection="external")) as ledger:
        emitter = (await ledger.tenant(tenant_id)).emitter
        latencies: list[tuple[float, float]] = []
        under_way: set[asyncio.Task[None]] = set()

        async def emit(event: Event) -> None:
            begin = time.monotonic()
            await emitter.emit(event)
            latencies.append((begin, (time.monotonic() - begin) * 1e3))

        events = _events(tenant_id)
        made = list(islice(events, MADE_BEFORE))
        made.reverse()
        await emit(made.pop())
        latencies.clear()
        gc.freeze()  # or a collection of all that was imported makes some hundred events wait
        print("ready", flush=True)
        stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        due = time.perf_counter()
        while not stop.done():
            for _ in range(min(round(int(rate) * TICK_SECONDS), UNDER_WAY_MAX - len(under_way))):
                task = asyncio.create_task(emit(made.pop() if made else next(events)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due = max(due + TICK_SECONDS, time.perf_counter() - 1.0)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.gather(*under_way)
        print(json.dumps(latencies), flush=True)


def _events(tenant_id: str) -> Iterator[Event]:
    for run_id, _, (event_type, step_id, attempt, payload) in interleaved(tenant_id, random.Random()):
        yield Event(
            event_type=event_type,
            tenant_id=tenant_id,
            run_id=run_id,
            step_id=step_id,
            attempt=attempt,
            actor="worker-1",
            payload=payload,
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
