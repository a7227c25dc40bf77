"""Fixtures every test may use. One PostgreSQL serves the whole run, all xdist workers included: it
stops with its last user. Each test has a tenant, and so a database, of its own."""

import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ledger import Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from tests.support.command_line import CommandLine

HOME_VARIABLE = "DAICHO_TEST_HOME"
NAMED_SERVER = "DAICHO_TEST_S3_SERVER"


def pytest_configure(config: pytest.Config) -> None:
    # The blob store's tests run against it too; everything else is tested with no setting made.
    minio = {name: os.environ.pop(name) for name in sorted(os.environ) if name.startswith("MINIO_")}
    if "MINIO_ENDPOINT" in minio:
        keys = (minio.get(name, "minioadmin") for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"))
        os.environ[NAMED_SERVER] = " ".join((minio["MINIO_ENDPOINT"], *keys))
    # Made once, before xdist starts its workers, which inherit the variable. Not under pytest's own
    # temporary folder: as root that is closed to the user the server runs as.
    if HOME_VARIABLE not in os.environ:
        os.environ[HOME_VARIABLE] = tempfile.mkdtemp(prefix="daicho-test-")
        Path(os.environ[HOME_VARIABLE]).chmod(0o711)
        config.add_cleanup(_remove_home)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested here, and why, in one line per reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("Not tested here")
        for reason, count in reasons.most_common():
            terminalreporter.line(f"{count} tests: {reason}")


def _remove_home() -> None:
    shutil.rmtree(os.environ.pop(HOME_VARIABLE), ignore_errors=True)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command that is called within the process configures them for good."""
    loggers = [logging.getLogger(name) for name in ("ledger", "projections")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagates) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagates


@pytest.fixture(scope="session")
def run_folder() -> Path:
    """The same folder in every xdist worker; gone after the run."""
    return Path(os.environ[HOME_VARIABLE])


@pytest.fixture(scope="session")
def home(run_folder: Path) -> Path:
    """DAICHO_HOME of the run."""
    return run_folder / "home"


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start(home) as server:
        yield server


@pytest.fixture
def settings(home: Path, postgres: EmbeddedPostgres) -> Settings:
    return Settings(home=home)


@pytest.fixture
def daicho(settings: Settings) -> CommandLine:
    return CommandLine(settings.home)


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
