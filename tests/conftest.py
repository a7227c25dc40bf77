"""Fixtures every test may use. One PostgreSQL serves the whole run, all xdist workers included: it
stops with its last user. Each test has a tenant, and so a database, of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """DAICHO_HOME of the run: the same folder in every xdist worker."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    return shared / "daicho-home"


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start(home) as server:
        yield server


@pytest.fixture
def settings(home: Path, postgres: EmbeddedPostgres) -> Settings:
    return Settings(home=home)


@pytest.fixture
async def ledger(settings: Settings) -> AsyncIterator[Ledger]:
    async with await Ledger.open(settings) as opened:
        yield opened


@pytest.fixture
async def tenant(ledger: Ledger) -> Tenant:
    """A fresh, empty tenant with a random id."""
    tenant_id = f"t-{uuid4().hex[:12]}"
    await ledger.tenants.create_tenant_db(tenant_id, "A tenant of a test")
    return await ledger.tenant(tenant_id)
