"""What a tenant costs: to make, to keep open, to connect to. `python -m tests.bench.tenants [TENANTS]`.

Made by copying the template, against made by running every migration; memory of this process per open
tenant, each having emitted and read, with the projector in the background and without.
"""

import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

from ledger import Event, Ledger, Settings
from ledger.control.migrations import upgrade_tenant
from ledger.control.roles import ensure_roles
from ledger.store.tenant_database import Role, TenantDatabase
from tests.bench.report import Report
from tests.faults.own_server import folder_of_its_own

ROUNDS = 3
COPIES = 8
COPY, MIGRATE = "tenants made by copying the template", "databases made by running every migration"


def memory_kib() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def migrated(ledger: Ledger) -> None:
    database = TenantDatabase("bench", f"t_{uuid4().hex}", ledger.server)
    await ensure_roles(database)
    superuser = await ledger.server.connect()
    owner = database.role(Role.OWNER)
    await superuser.execute(f'CREATE DATABASE "{database.name}" OWNER "{owner}" TEMPLATE template0')
    await superuser.close()
    await upgrade_tenant(database)


async def making(ledger: Ledger) -> None:
    report = Report()
    await ledger.tenants.create_tenant_db("first", "Makes the template")
    await migrated(ledger)
    for round_ in range(ROUNDS):
        started = time.perf_counter()
        for number in range(COPIES):
            await ledger.tenants.create_tenant_db(f"c{round_}-{number}", "A copy")
        report.add(COPY, COPIES / (time.perf_counter() - started))
        started = time.perf_counter()
        for _ in range(COPIES):
            await migrated(ledger)
        report.add(MIGRATE, COPIES / (time.perf_counter() - started))
    report.print()
    report.ratio(COPY, MIGRATE, wanted="> 1")


async def memory(home: Path, names: list[str], projection: str) -> None:
    settings = Settings(home=home, projection=projection, server_connections_max=36)  # type: ignore[arg-type]
    async with await Ledger.open(settings) as ledger:
        warm = await ledger.tenant(names[0])
        await warm.emitter.emit(fact(names[0]))
        before = memory_kib()
        for name in names[1:]:
            tenant = await ledger.tenant(name)
            recorded = await tenant.emitter.emit(fact(name))
            await tenant.store.read()
            if projection == "background":
                await tenant.wait_projected(recorded.position, timeout_seconds=300)
        each = (memory_kib() - before) / (len(names) - 1)
        print(f"memory per open tenant, projection {projection}: {each:.0f} KiB ({len(names)} tenants)")


def fact(tenant_id: str) -> Event:
    return Event(event_type="run.cancelled", tenant_id=tenant_id, run_id="r")


async def main(tenants: int) -> None:
    with folder_of_its_own() as folder:
        home = folder / "home"
        names = [f"t{number}" for number in range(tenants)]
        async with await Ledger.open(Settings(home=home, projection="external")) as ledger:
            await making(ledger)
            for name in names:
                await ledger.tenants.create_tenant_db(name, name)
            await memory(home, names, "external")
            await memory(home, names, "background")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
