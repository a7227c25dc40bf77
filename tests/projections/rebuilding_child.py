"""A process that rebuilds with two workers and stops for ever at a given point, having said so; at the point
"anywhere" it says so and goes on rebuilding.

python rebuilding_child.py HOME TENANT POINT
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from ledger import Ledger, Settings
from projections import rebuild
from projections.rebuilding import rebuild as rebuild_module
from projections.rebuilding import swapping
from projections.workers import ranges

START = ("folding", 0)


async def _stop(*_: object, **__: object) -> Any:
    print("reached", flush=True)
    await asyncio.sleep(600)


def _prepare(point: str) -> Any:
    """Stops the rebuild there; returns the callback for its progress."""
    ranges.EVENTS_OF_RANGE = 20
    match point:
        case "in the middle of filling":
            whole = rebuild_module.perform

            async def perform(job: Any, parts: Any, workers: int, folded: Any, _: Any) -> Any:
                await whole(job, parts[: len(parts) // 2], workers, folded)
                at_it = asyncio.Event()
                again = parts[len(parts) // 2 :] * 5_000
                task = asyncio.create_task(whole(job, again, workers, lambda _: at_it.set()))
                await at_it.wait()
                assert not task.done()
                return await _stop()

            rebuild_module.perform = perform  # type: ignore[assignment]
        case "before indexes":
            rebuild_module.build_indexes = _stop
        case "with the checkpoint held":
            swapping.Swap._exchange = _stop  # type: ignore[method-assign]
        case "with the tables locked":
            whole_exchange = swapping.exchange_tables
            swapping.exchange_tables = lambda tables: whole_exchange(tables) + "; SELECT pg_sleep(1)"
            return lambda phase, *_: print("reached", flush=True) if phase == "swapping" else None
        case "with the old tables not yet dropped":
            rebuild_module.drop_tables = _stop
        case "after the exchange":
            return lambda phase, *_: None
        case "anywhere":
            return lambda phase, done, total: print("reached", flush=True) if (phase, done) == START else None
    return None


async def main(home: str, tenant_id: str, point: str) -> None:
    progress = _prepare(point)
    async with await Ledger.open(Settings(home=Path(home), projection="external")) as ledger:
        tenant = await ledger.tenant(tenant_id)
        if point == "after the exchange":
            tenant.emitter.emit = _stop  # type: ignore[method-assign, assignment]
        await rebuild(tenant, workers=2, progress=progress)
        while point == "anywhere":
            await rebuild(tenant, workers=2)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
