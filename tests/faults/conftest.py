"""Fixtures of the faults: servers that may be harmed, and a proxy in front of the one that all share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import PORT
from tests.faults.own_server import OwnServer, folder_of_its_own, own_server
from tests.faults.proxy import Proxy


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_its_own() as made:
        yield made


@pytest.fixture
def server(folder: Path) -> Iterator[OwnServer]:
    with own_server(folder / "home") as started:
        yield started


@pytest.fixture
async def harmed(server: OwnServer) -> AsyncIterator[Ledger]:
    """A ledger on a server of its own, with a deadline that outlasts a slow restart."""
    settings = Settings(home=server.home, emit_deadline_seconds=90)
    async with await Ledger.open(settings) as opened:
        yield opened


@pytest.fixture
async def acme(harmed: Ledger) -> Tenant:
    await harmed.tenants.create_tenant_db("acme", "Acme")
    return await harmed.tenant("acme")


@pytest.fixture
async def proxy(postgres: EmbeddedPostgres) -> AsyncIterator[Proxy]:
    async with Proxy(postgres.socket_folder / f".s.PGSQL.{PORT}") as made:
        yield made
