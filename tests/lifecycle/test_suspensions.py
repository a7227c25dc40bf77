"""A suspended tenant records nothing, whoever has it open; reading goes on."""

import asyncio

import pytest
from sqlalchemy import text

from ledger import Ledger, Settings, Tenant
from ledger.errors import InvalidName, StoreUnavailable, TenantSuspended
from ledger.store.tenant_database import Role
from projections.audit import AuditQueries
from tests.lifecycle.conftest import acts, fact


async def test_whoever_has_it_open_hears_of_it_and_goes_on_afterwards(
    ledger: Ledger, settings: Settings, filled: Tenant
) -> None:
    async with await Ledger.open(settings) as elsewhere:
        theirs = await elsewhere.tenant(filled.tenant_id)
        await theirs.emitter.emit(fact(theirs))
        await ledger.tenants.suspend(filled.tenant_id, by="ann", reason="unpaid")
        head = await filled.store.head()

        for tenant in (filled, theirs):
            with pytest.raises(TenantSuspended):
                await tenant.emitter.emit(fact(tenant))
            with pytest.raises(TenantSuspended):
                await tenant.erase_payload(1, by="ann", reason="why")
        with pytest.raises(TenantSuspended):
            await elsewhere.tenant(filled.tenant_id)

        assert await theirs.store.head() == head
        await ledger.tenants.resume(filled.tenant_id, by="ann")
        for tenant in (filled, theirs):
            await tenant.emitter.emit(fact(tenant))
        assert await theirs.store.head() == head + 2
    expected = ["tenant.suspended", "tenant.resumed"]
    assert (await acts(ledger, filled.tenant_id))[-2:] == expected


async def test_it_is_read_as_before(ledger: Ledger, settings: Settings, filled: Tenant) -> None:
    await ledger.tenants.suspend(filled.tenant_id)
    async with await Ledger.open(settings) as elsewhere:
        tenant = await elsewhere.tenant(filled.tenant_id, for_reading=True)
        timeline = await AuditQueries(tenant).timeline("run-1")
        assert timeline.entries
        ref = (await AuditQueries(tenant).state_at("run-1"))["step_outputs"]["draft"]
        assert await tenant.artifacts.get(ref) == b"# Moving"
        async with await elsewhere.tenants.get_connection(filled.tenant_id) as session:
            found = await session.execute(text("SELECT run_id FROM projection.runs ORDER BY run_id"))
            assert found.scalars().all() == ["noise", "run-1"]
        await tenant.wait_projected(await tenant.store.head())
        with pytest.raises(TenantSuspended):
            await tenant.emitter.emit(fact(tenant))


async def test_suspended_under_load_nothing_acknowledged_is_lost_and_nothing_comes_after(
    ledger: Ledger, tenant: Tenant
) -> None:
    acknowledged: list[int] = []

    async def emit_until_told() -> None:
        while True:
            try:
                acknowledged.append((await tenant.emitter.emit(fact(tenant))).position)
            except TenantSuspended:
                return

    emitters = [asyncio.create_task(emit_until_told()) for _ in range(16)]
    while len(acknowledged) < 100:
        await asyncio.sleep(0.01)
    await ledger.tenants.suspend(tenant.tenant_id)
    head = await tenant.store.head()
    await asyncio.gather(*emitters)
    assert await tenant.store.head() == head
    assert len(set(acknowledged)) == len(acknowledged)
    assert max(acknowledged) <= head


async def test_suspending_and_resuming_twice_is_once(ledger: Ledger, tenant: Tenant) -> None:
    for _ in range(2):
        await ledger.tenants.suspend(tenant.tenant_id)
    for _ in range(2):
        await ledger.tenants.resume(tenant.tenant_id)
    assert (await acts(ledger, tenant.tenant_id))[-2:] == ["tenant.suspended", "tenant.resumed"]


async def test_a_migration_lets_no_writer_in(ledger: Ledger, tenant: Tenant) -> None:
    await ledger.tenants.suspend(tenant.tenant_id)
    await ledger.tenants.migrate(tenant.tenant_id)
    database = (await ledger.tenants.open_for_work(tenant.tenant_id, for_reading=True))[1]
    for role in (Role.WRITER, Role.ERASER, Role.COLLECTOR):
        with pytest.raises(TenantSuspended):
            await database.connect(role)


async def test_writers_are_not_kept_out_where_something_holds_the_log(
    ledger: Ledger, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.control.fence.LOCK_WAIT", "200ms")
    owner = await tenant.database.connect(Role.OWNER)
    async with owner.transaction():
        await owner.fetch("SELECT position FROM ledger.head FOR UPDATE")
        with pytest.raises(StoreUnavailable):
            await ledger.tenants.suspend(tenant.tenant_id)
    await owner.close()
    await ledger.tenants.suspend(tenant.tenant_id)


async def test_a_tenant_gets_another_name(ledger: Ledger, tenant: Tenant) -> None:
    await ledger.tenants.rename(tenant.tenant_id, "Nova", by="ann")
    await ledger.tenants.rename(tenant.tenant_id, "Nova", by="ann")
    assert (await ledger.tenants.catalogue.get(tenant.tenant_id)).name == "Nova"
    assert (await acts(ledger, tenant.tenant_id)).count("tenant.renamed") == 1
    with pytest.raises(InvalidName):
        await ledger.tenants.rename(tenant.tenant_id, " ")
