"""Revision 0003 goes back and forth, and does not throw tracking away."""

import asyncio

import asyncpg
import pytest
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.utils import Environment

from ledger import Tenant
from ledger.store.recorder import DaichoFactory
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role


def process(env: dict[str, str], version: int, tracked: int | None) -> None:
    factory = DaichoFactory(Environment("Orders", env))
    tracking = None if tracked is None else Tracking("up", tracked)
    factory.process_recorder().insert_events([StoredEvent("a", version, "t", b"")], tracking=tracking)
    factory.close()


async def run(tenant: Tenant, filename: str) -> None:
    owner = await tenant.database.connect(Role.OWNER)
    try:
        async with owner.transaction():
            for statement in load_statements("ledger.migrations.tenant", f"sql/{filename}").values():
                await owner.execute(statement)
    finally:
        await owner.close()


async def test_down_and_up_again_with_an_applications_events_in_the_log(tenant: Tenant) -> None:
    await asyncio.to_thread(process, tenant.application_env(), 1, None)
    await run(tenant, "0003_downgrade.sql")
    await run(tenant, "0003_recorder.sql")
    await asyncio.to_thread(process, tenant.application_env(), 2, 1)
    assert [event.version for event in await tenant.store.read_run("Orders/a")] == [1, 2]


async def test_down_is_refused_where_tracking_is_recorded(tenant: Tenant) -> None:
    await asyncio.to_thread(process, tenant.application_env(), 1, 1)
    with pytest.raises(asyncpg.RaiseError, match="recorded here and nowhere else"):
        await run(tenant, "0003_downgrade.sql")
