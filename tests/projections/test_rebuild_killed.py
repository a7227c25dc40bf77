"""A rebuild is killed (kill -9): the old tables serve, nothing of it lives on, the next one clears away."""

import asyncio
import random
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


async def _kill_at(ledger: Ledger, tenant: Tenant, point: str, after_seconds: float = 0.0) -> None:
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
        await asyncio.sleep(after_seconds)
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize(
    "point", [*BEFORE_THE_EXCHANGE, "with the old tables not yet dropped", "after the exchange"]
)
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
    assert await _leftovers(projected) == []


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.torture)])
async def test_killed_at_no_point_in_particular_the_tables_are_whole_all_the_same(
    ledger: Ledger, projected: Tenant, times: int
) -> None:
    before = await live_records(projected)
    del before["audit_logs"]  # rebuilds that came to their end are acts, and are folded by those after them
    chance = random.Random(20261126)
    for _ in range(times):
        await _kill_at(ledger, projected, "anywhere", chance.uniform(0, 1.2))

        found = await live_records(projected)
        del found["audit_logs"]
        assert found == before
        assert (await verify(projected)).ok
        await catch_up(projected)  # nothing is held any more
        assert (await verify(projected)).position == await projected.store.head()
    await rebuild(projected)
    assert (await verify(projected)).ok
    assert await _leftovers(projected) == []


async def _leftovers(tenant: Tenant) -> list[str]:
    async with connected(tenant, Role.READER) as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'projection'::regnamespace"
        )
    return [row[0] for row in names if row[0].startswith("$")]
