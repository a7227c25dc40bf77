"""The power fails during a rebuild: nothing that the server had not flushed is there afterwards. The tables
are whole, the old ones or the new ones, and the next rebuild clears away. (What commits without a flush, as
the exchange does, stays in memory here until somebody flushes: the WAL writer is held.)"""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from database_rows import busy_run, catch_up, connected, live_records

from ledger import Ledger, Settings, Tenant
from ledger.errors import StoreUnavailable
from ledger.store.tenant_database import Role
from projections import rebuild, verify
from projections.rebuilding import rebuild as rebuild_module
from tests.faults.own_server import OwnServer, folder_of_its_own, own_server

LEFTOVERS = """SELECT count(*) FROM pg_class
                WHERE relnamespace = 'projection'::regnamespace AND relname LIKE '$%'"""


@pytest.fixture
async def server() -> AsyncIterator[OwnServer]:
    with folder_of_its_own() as folder, own_server(folder / "home") as started:
        yield started


@pytest.fixture
async def projected(server: OwnServer) -> AsyncIterator[Tenant]:
    settings = Settings(home=server.home, projection="external", emit_deadline_seconds=60)
    async with await Ledger.open(settings) as ledger:
        await ledger.tenants.create_tenant_db("acme", "Acme")
        tenant = await ledger.tenant("acme")
        for number in range(20):
            await busy_run(tenant, f"run-{number}")
        await catch_up(tenant)
        yield tenant


async def assert_whole(tenant: Tenant, expected: dict[str, object]) -> None:
    found = dict(await live_records(tenant))
    del found["audit_logs"]  # rebuilds that came to their end are acts
    assert found == expected
    assert (await verify(tenant)).ok
    await rebuild(tenant)
    assert (await verify(tenant)).ok
    async with connected(tenant, Role.READER) as connection:
        assert await connection.fetchval(LEFTOVERS) == 0


async def what_stands(tenant: Tenant) -> dict[str, object]:
    found = dict(await live_records(tenant))
    del found["audit_logs"]
    return found


async def test_right_after_the_exchange_which_was_not_flushed_the_old_tables_serve(
    server: OwnServer, projected: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, head = await what_stands(projected), await projected.store.head()
    await server.hold_wal_writer()

    async def die(*_arguments: object) -> None:
        await server.cut_the_power()

    with monkeypatch.context() as patched:
        patched.setattr(rebuild_module, "drop_tables", die)
        patched.setattr(rebuild_module, "fact", never)
        with pytest.raises((AssertionError, StoreUnavailable)):
            await rebuild(projected, workers=0)

    assert await projected.store.head() == head
    await assert_whole(projected, before)


def never(*_arguments: object) -> None:
    raise AssertionError("nothing was recorded")


async def test_right_after_it_was_recorded_the_new_tables_serve(server: OwnServer, projected: Tenant) -> None:
    before = await what_stands(projected)
    await server.hold_wal_writer()
    report = await rebuild(projected, workers=0)
    await server.cut_the_power()

    compared = await verify(projected)
    assert {name: table.live_digest for name, table in compared.tables.items()} == report.digests
    await assert_whole(projected, before)


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.torture)])
async def test_at_no_point_in_particular(server: OwnServer, projected: Tenant, times: int) -> None:
    before, chance = await what_stands(projected), random.Random(20261126)
    for _ in range(times):
        await server.hold_wal_writer()
        task = asyncio.create_task(rebuild(projected, workers=0))
        await asyncio.sleep(chance.uniform(0, 0.35))
        await server.cut_the_power()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert not isinstance(outcome, BaseException) or isinstance(outcome, StoreUnavailable), outcome
        await assert_whole(projected, before)
