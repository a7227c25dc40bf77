"""A tenant is deleted for good, wholly, and not by accident."""

from pathlib import Path

import pytest

from ledger import Ledger, Tenant
from ledger.errors import (
    EmitterClosed,
    TenantBusy,
    TenantConflict,
    TenantKept,
    TenantNotFound,
    TenantSuspended,
)
from ledger.lifecycle import delete_tenant, deleting, export_tenant
from tests.lifecycle.conftest import Killed, acts, fact, is_there, killed_at


async def test_a_tenant_that_was_not_exported_is_kept(ledger: Ledger, filled: Tenant) -> None:
    with pytest.raises(TenantKept, match="daicho tenant export"):
        await delete_tenant(ledger, filled.tenant_id)
    assert (await is_there(ledger, filled.database))[0]
    await filled.emitter.emit(fact(filled))


async def test_a_tenant_that_went_on_since_its_export_is_kept(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    recorded = await filled.emitter.emit(fact(filled))
    with pytest.raises(TenantKept, match=f"up to position {recorded.position}"):
        await delete_tenant(ledger, filled.tenant_id)


async def test_what_is_recorded_while_it_is_being_deleted_keeps_it(
    ledger: Ledger, filled: Tenant, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    fence = deleting.keep_writers_out

    async def one_more_before(database: object) -> None:
        again = await ledger.tenants.database(await ledger.tenants.catalogue.get(filled.tenant_id))
        other = await ledger.handle(await ledger.tenants.catalogue.get(filled.tenant_id), again)
        await other.emitter.emit(fact(other))
        await other.close()
        await fence(database)  # type: ignore[arg-type]

    monkeypatch.setattr(deleting, "keep_writers_out", one_more_before)
    with pytest.raises(TenantKept):
        await delete_tenant(ledger, filled.tenant_id)
    assert (await acts(ledger, filled.tenant_id))[-1] == "tenant.deletion_refused"

    tenant = await ledger.tenant(filled.tenant_id)
    await tenant.emitter.emit(fact(tenant))  # as if nothing had been


async def test_what_was_exported_can_be_deleted_and_nothing_is_left(
    ledger: Ledger, filled: Tenant, archive: Path
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    store = filled.blobs

    report = await delete_tenant(ledger, filled.tenant_id, by="ann", reason="contract ended")

    assert (report.blobs, report.already) == (2, False)
    assert await is_there(ledger, filled.database) == (False, 0)
    assert [stat async for stat in store.iterate()] == []
    with pytest.raises(TenantNotFound, match="deleted"):
        await ledger.tenant(filled.tenant_id)
    with pytest.raises(EmitterClosed):
        await filled.emitter.emit(fact(filled))
    assert (await acts(ledger, filled.tenant_id))[-1] == "tenant.deleted"
    assert (await delete_tenant(ledger, filled.tenant_id)).already


async def test_an_id_of_a_deleted_tenant_is_never_given_again(ledger: Ledger, tenant: Tenant) -> None:
    await delete_tenant(ledger, tenant.tenant_id, without_export=True)
    with pytest.raises(TenantConflict, match="deleted"):
        await ledger.tenants.create_tenant_db(tenant.tenant_id, "A tenant of a test")


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("keep_writers_out", False),
        ("keep_writers_out", True),
        ("drop_database", False),
        ("drop_database", True),
        ("_delete_blobs", False),
        ("_delete_blobs", True),
    ],
)
async def test_a_deletion_that_was_killed_is_finished_by_asking_again(
    ledger: Ledger,
    filled: Tenant,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: bool,
) -> None:
    await export_tenant(ledger, filled.tenant_id, archive)
    revive = killed_at(monkeypatch, deleting, name, after=after)
    with pytest.raises(Killed):
        await delete_tenant(ledger, filled.tenant_id)
    with pytest.raises(TenantBusy, match="being deleted"):
        await ledger.tenant(filled.tenant_id)
    with pytest.raises(TenantBusy):
        await ledger.tenants.resume(filled.tenant_id)
    revive()

    await delete_tenant(ledger, filled.tenant_id)

    assert await is_there(ledger, filled.database) == (False, 0)
    assert (await acts(ledger, filled.tenant_id))[-1] == "tenant.deleted"


async def test_a_suspended_tenant_that_is_kept_stays_suspended(ledger: Ledger, filled: Tenant) -> None:
    await ledger.tenants.suspend(filled.tenant_id)
    with pytest.raises(TenantKept):
        await delete_tenant(ledger, filled.tenant_id)
    with pytest.raises(TenantSuspended):
        await ledger.tenant(filled.tenant_id)


async def test_nobody_unknown_is_deleted(ledger: Ledger) -> None:
    with pytest.raises(TenantNotFound):
        await delete_tenant(ledger, "nobody", without_export=True)
