"""For how long a rebuild has the tables locked, while others read them, write into them and append."""

import asyncio
import statistics
from contextlib import suppress

import pytest
from database_rows import busy_run, connected

from ledger import Settings, Tenant
from ledger.store.tenant_database import Role
from projections import Projector, rebuild

LOCKED_MS_MAX = 50.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def write(tenant: Tenant) -> None:
    number = 0
    while True:
        number += 1
        await busy_run(tenant, f"run-{number % 50}")


async def read(tenant: Tenant) -> None:
    async with connected(tenant, Role.READER) as reader:
        while True:
            await reader.fetch("SELECT * FROM projection.runs JOIN projection.steps USING (run_id)")


async def test_the_tables_are_locked_for_less_than_50_ms(tenant: Tenant) -> None:
    await busy_run(tenant, "run-0")
    projector = Projector(tenant.store)
    tasks = [
        asyncio.create_task(projector.run_until_cancelled()),
        *(asyncio.create_task(work(tenant)) for work in (write, read, read)),
    ]
    locked_ms = [(await rebuild(tenant)).swap_ms for _ in range(5)]
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await projector.close()
    assert statistics.median(locked_ms) < LOCKED_MS_MAX, locked_ms
