"""A rebuild is killed (kill -9): the old tables serve, nothing of it lives on, the next one clears away."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from database_rows import busy_run, catch_up, connected, live_records

from ledger import Ledger, Settings, Tenant
from ledger.store.tenant_database import Role
from projections import rebuild, verify

CHILD = Path(__file__).with_name("rebuilding_child.py")
ROOT = Path(__file__).parents[2]
BEFORE_THE_EXCHANGE = [
    "in the middle of filling",
    "before indexes",
    "with the checkpoint held",
    "with the tables locked",
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def projected(tenant: Tenant) -> Tenant:
    for number in range(20):
        await busy_run(tenant, f"run-{number}")
    await catch_up(tenant)
    return tenant


async def _kill_at(ledger: Ledger, tenant: Tenant, point: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(ledger.settings.home),
        tenant.tenant_id,
        point,
        stdout=PIPE,
        cwd=ROOT,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await child.stdout.readline() == b"reached\n"
        if point == "with the tables locked":
            await asyncio.sleep(0.3)  # the server is asleep in the midst of it and finds nobody afterwards
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("point", [*BEFORE_THE_EXCHANGE, "after the exchange"])
async def test_the_tables_serve_and_the_next_rebuild_clears_away(
    ledger: Ledger, projected: Tenant, point: str
) -> None:
    before = await live_records(projected)

    await _kill_at(ledger, projected, point)

    assert await live_records(projected) == before
    assert await projected.store.head() == 160, "it did not end, so nothing says so"
    await busy_run(projected, "run-later")
    await catch_up(projected)  # nothing is held any more
    assert (await verify(projected)).ok
    await rebuild(projected)
    assert (await verify(projected)).ok
    async with connected(projected, Role.READER) as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'projection'::regnamespace"
        )
    assert [row[0] for row in names if row[0].startswith("$")] == []
