"""Hundreds of tenants on one server that has fewer connections than tenants."""

import asyncio
from collections.abc import Iterator

import pytest

from ledger import Event, Ledger, Settings
from tests.faults.own_server import OwnServer, folder_of_its_own, own_server


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with folder_of_its_own() as folder, own_server(folder / "home", {"max_connections": "50"}) as started:
        yield started


@pytest.mark.parametrize(
    ("tenants", "limit"), [(24, 5), pytest.param(300, 36, marks=pytest.mark.torture)], ids=["24", "300"]
)
async def test_all_of_them_are_made_write_project_and_read(
    server: OwnServer, tenants: int, limit: int
) -> None:
    """Of 50 connections a superuser's 3 are reserved, and the control plane has its own; every tenant is
    followed by a projector in the background the whole time."""
    settings = Settings(home=server.home, server_connections_max=limit, connection_wait_seconds=60)
    names = [f"t{number}" for number in range(tenants)]
    async with await Ledger.open(settings) as ledger:
        await asyncio.gather(*(ledger.tenants.create_tenant_db(name, name) for name in names))
        opened = [await ledger.tenant(name) for name in names]
        for round_ in range(2):
            events = (
                Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id=f"r{round_}")
                for tenant in opened
            )
            pairs = list(zip(opened, events, strict=True))
            recorded = await asyncio.gather(*(tenant.emitter.emit(event) for tenant, event in pairs))
            assert {each.position for each in recorded} == {round_ + 1}
            await asyncio.gather(
                *(tenant.wait_projected(round_ + 1, timeout_seconds=300) for tenant in opened)
            )
            assert ledger.server.connections.open_count <= limit
        superuser = await ledger.server.connect()
        used = await superuser.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        await superuser.close()
        assert used <= 50
