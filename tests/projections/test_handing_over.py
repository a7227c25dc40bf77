"""A process that follows is killed: its tenants are projected by another one within seconds."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from database_rows import busy_run

from ledger import Ledger, Settings, Tenant
from projections import verify
from projections.following.leadership import leaders

SECONDS_MAX = 10.0
"""About one on a machine that does nothing else."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@asynccontextmanager
async def follower(home: Path, *tenant_ids: str) -> AsyncIterator[asyncio.subprocess.Process]:
    named = [word for tenant_id in tenant_ids for word in ("-t", tenant_id)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ledger.cli import main; main()", "follow", *named,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "DAICHO_HOME": str(home)},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def led_by(ledger: Ledger, tenant_ids: list[str]) -> dict[int, set[str]]:
    """Who leads which of the tenants, by process."""
    found: dict[int, set[str]] = {}
    for tenant_id, leader in (await leaders(ledger.server, tenant_ids)).items():
        found.setdefault(int(leader.rpartition(":")[2]), set()).add(tenant_id)
    return found


async def test_all_tenants_of_a_process_that_is_killed_are_projected_within_seconds(
    home: Path, ledger: Ledger
) -> None:
    tenants: list[Tenant] = []
    for _ in range(6):
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "One of six")
        tenants.append(await ledger.tenant(tenant_id))
    names = [tenant.tenant_id for tenant in tenants]
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(follower(home, *names)) for _ in range(3)]
        pids = {process.pid for process in processes}
        async with asyncio.timeout(60):
            while True:
                found = await led_by(ledger, names)
                if found.keys() == pids and {len(led) for led in found.values()} == {2}:
                    break
                await asyncio.sleep(0.1)

        killed = processes[0]
        killed.kill()
        began = time.monotonic()
        recorded = [(await busy_run(tenant, "run"))[-1] for tenant in tenants]
        for tenant, last in zip(tenants, recorded, strict=True):
            await tenant.wait_projected(last.position, timeout_seconds=60)
        took = time.monotonic() - began

        found = await led_by(ledger, names)
        assert found.keys() == pids - {killed.pid}
        assert set().union(*found.values()) == set(names)
    assert took < SECONDS_MAX
    for tenant in tenants:
        assert (await verify(tenant)).ok
