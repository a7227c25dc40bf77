"""Followers that a test runs, and what it waits for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest

from ledger import Ledger, Tenant
from projections.core import CORE
from projections.following import Follower, follower, session
from projections.installed import Projections


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers look around more often than they do in earnest."""
    monkeypatch.setattr(follower, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(follower, "INSERTIONS_SECONDS", 0.1)
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def following(
    ledger: Ledger, *tenants: Tenant, projections: Projections = (CORE,), **options: Any
) -> AsyncIterator[Follower]:
    found = ledger.follower([tenant.tenant_id for tenant in tenants], projections=projections, **options)
    task = asyncio.create_task(found.run_until_cancelled())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.02)


async def connections(tenant: Tenant) -> int:
    """How many sessions there are in the tenant's database."""
    connection = await tenant.database.server.connect()
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND usename IS NOT NULL",
            tenant.database.name,
        )
        return count
    finally:
        await connection.close()


async def another_tenant(ledger: Ledger) -> Tenant:
    tenant_id = f"t-{uuid4().hex[:12]}"
    await ledger.tenants.create_tenant_db(tenant_id, "Another")
    return await ledger.tenant(tenant_id)
