"""Projectors that a test runs, and how far they have come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from database_rows import connected

from ledger import RecordedEvent, Tenant
from ledger.store.tenant_database import Role
from projections import Projector
from projections import core as core_module
from projections.core import CORE
from projections.fold import RunState, fold


@asynccontextmanager
async def projecting(tenant: Tenant) -> AsyncIterator[Projector]:
    projector = Projector(tenant.store)
    try:
        yield projector
    finally:
        await projector.close()


@asynccontextmanager
async def following(tenant: Tenant) -> AsyncIterator[Projector]:
    async with projecting(tenant) as projector:
        task = asyncio.create_task(projector.run_until_cancelled())
        try:
            yield projector
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def checkpoint(tenant: Tenant) -> int:
    async with connected(tenant, Role.READER) as connection:
        statement = "SELECT position FROM projection.checkpoints WHERE name = $1"
        position: int = await connection.fetchval(statement, CORE.name)
        return position


async def reached(tenant: Tenant, position: int) -> None:
    async with asyncio.timeout(20):
        while await checkpoint(tenant) < position:
            await asyncio.sleep(0.02)


def refuse(monkeypatch: pytest.MonkeyPatch, position: int, error: Exception) -> None:
    """The event at `position` cannot be folded."""

    def poisoned(state: RunState, event: RecordedEvent) -> None:
        if event.position == position:
            raise error
        fold(state, event)

    monkeypatch.setattr(core_module, "fold", poisoned)
