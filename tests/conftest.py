"""Fixtures every test may use. One PostgreSQL serves the whole run, all xdist workers included: it
stops with its last user. Each test has a tenant, and so a database, of its own."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres

HOME_VARIABLE = "DAICHO_TEST_HOME"


def pytest_configure(config: pytest.Config) -> None:
    # Made once, before xdist starts its workers, which inherit the variable. Not under pytest's own
    # temporary folder: as root that is closed to the user the server runs as.
    if HOME_VARIABLE not in os.environ:
        os.environ[HOME_VARIABLE] = tempfile.mkdtemp(prefix="daicho-test-")
        Path(os.environ[HOME_VARIABLE]).chmod(0o711)
        config.add_cleanup(_remove_home)


def _remove_home() -> None:
    shutil.rmtree(os.environ.pop(HOME_VARIABLE), ignore_errors=True)


@pytest.fixture(scope="session")
def home() -> Path:
    """DAICHO_HOME of the run: the same folder in every xdist worker."""
    return Path(os.environ[HOME_VARIABLE]) / "home"


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
