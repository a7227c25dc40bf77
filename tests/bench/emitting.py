"""A process that emits: says `ready`, waits for a line, emits for some seconds, prints its rate."""

import asyncio
import sys
from pathlib import Path

from ledger import Ledger, Settings
from tests.bench.append import emitters, events_of

EVENTS_A_SECOND_MAX = 5_000


async def main(home: str, tenant_id: str, concurrency: str, seconds: str) -> None:
    settings = Settings(home=Path(home), projection="external")
    async with await Ledger.open(settings) as ledger:
        tenant = await ledger.tenant(tenant_id)
        await emitters(tenant, 1, 0.1, events_of(tenant_id, EVENTS_A_SECOND_MAX))  # connections, plans
        made = events_of(tenant_id, int(EVENTS_A_SECOND_MAX * float(seconds)))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        rate, _ = await emitters(tenant, int(concurrency), float(seconds), made)
        print(rate, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
