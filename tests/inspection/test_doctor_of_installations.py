"""`daicho doctor` beyond the guards: servers, the blob store, disks, fences."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.catalogue import Catalogue
from ledger.control.fence import keep_writers_out, let_writers_in
from ledger.control.guards import Finding
from ledger.control.servers import DatabaseServers
from ledger.inspection import inspect_installation, installation


async def findings(ledger: Ledger, settings: Settings, *tenant_ids: str) -> list[Finding]:
    async with Catalogue.open(ledger.server) as catalogue:
        tenants = [await catalogue.get(tenant_id) for tenant_id in tenant_ids]
        looking = inspect_installation(settings, ledger.server, catalogue, tenants)
        return [finding async for finding in looking]


async def test_nothing_is_found_where_all_is_in_order(
    ledger: Ledger, settings: Settings, tenant: Tenant
) -> None:
    assert await findings(ledger, settings, tenant.tenant_id) == []


async def test_a_full_disk_is_told_of_before_it_is(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 * 2**30, 99 * 2**30, 2**30))
    [found] = await findings(ledger, settings)
    assert (found.guard, "1.0 GiB of 100.0 GiB" in found.problem) == ("disk", True)


async def test_a_blob_store_that_is_not_there_is_told_of(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "elsewhere"})
    found = await installation._of_blobs(other)
    assert len(found) == 1
    assert found[0].guard.startswith("blob store")
    assert "daicho init" in found[0].fix


async def test_a_server_out_of_reach_is_told_of_and_its_tenants_are_passed_over(
    ledger: Ledger, tmp_path: Path
) -> None:
    async with Catalogue.open(ledger.server) as catalogue:
        servers = DatabaseServers(ledger.server, catalogue)
        servers._opened["gone"] = servers._at("gone", f"postgresql://postgres@/postgres?host={tmp_path}")
        out_of_reach: set[str] = set()
        [found] = await installation._of_server(servers, "gone", out_of_reach)
    assert (found.guard, out_of_reach) == ("server gone", {"gone"})


async def test_a_fence_that_does_not_fit_the_status_is_told_of(
    ledger: Ledger, settings: Settings, tenant: Tenant
) -> None:
    await keep_writers_out(tenant.database)
    [found] = await findings(ledger, settings, tenant.tenant_id)
    assert (found.guard, found.tenant_id) == ("fence", tenant.tenant_id)
    assert "tenant resume" in found.fix
    await ledger.tenants.resume(tenant.tenant_id)
    assert await findings(ledger, settings, tenant.tenant_id) == []

    await ledger.tenants.suspend(tenant.tenant_id)
    assert await findings(ledger, settings, tenant.tenant_id) == []
    await let_writers_in(tenant.database)
    [found] = await findings(ledger, settings, tenant.tenant_id)
    assert "tenant suspend" in found.fix
