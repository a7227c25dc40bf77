"""A process that emits as fast as it can and says on its standard output, unbuffered, what was
acknowledged: `python emitting_child.py HOME TENANT`. It ends when it is killed."""

import asyncio
import os
import sys
from pathlib import Path

from ledger import Event, Ledger, Settings


async def main(home: Path, tenant_id: str) -> None:
    async with await Ledger.open(Settings(home=home, projection="external")) as ledger:
        tenant = await ledger.tenant(tenant_id)

        async def emit(worker: int) -> None:
            while True:
                event = Event(event_type="run.cancelled", tenant_id=tenant_id, run_id=f"run-{worker}")
                recorded = await tenant.emitter.emit(event)
                os.write(1, f"{event.event_id} {recorded.position}\n".encode())

        await asyncio.gather(*(emit(worker) for worker in range(32)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
