"""daicho blob gc."""

import asyncio
import json
import os

import pytest
from click.testing import CliRunner

from ledger import Settings, Tenant
from ledger.cli import main


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    return CliRunner()


async def _invoke(runner: CliRunner, tenant: Tenant, *words: str) -> tuple[int, str]:
    command = ["blob", *words, "-t", tenant.tenant_id]
    done = await asyncio.to_thread(runner.invoke, main, command, catch_exceptions=False)
    return done.exit_code, done.output


async def _old_garbage(tenant: Tenant) -> None:
    digest = await tenant.blobs.put(b"garbage")
    os.utime(tenant.blobs.path_of(digest), (0, 0))  # type: ignore[attr-defined]


async def test_garbage_is_counted_then_deleted_and_told(tenant: Tenant, daicho: CliRunner) -> None:
    await _old_garbage(tenant)
    await tenant.blobs.put(b"young")
    code, output = await _invoke(daicho, tenant, "gc", "--dry-run")
    assert (code, "Would delete 1 blobs (7 bytes). Nothing was done." in output) == (0, True), output
    code, output = await _invoke(daicho, tenant, "gc", "--by", "ann")
    assert (code, "Deleted 1 blobs (7 bytes), recorded in the log" in output) == (0, True), output
    code, output = await _invoke(daicho, tenant, "gc", "--json")
    report = json.loads(output)
    assert (code, report["listed"], report["young"], report["deleted"]) == (0, 1, 1, 0)
    [first, _] = await tenant.store.read()
    assert (first.event_type, first.actor) == ("blobs.collected", "ann")


async def test_a_grace_period_that_spares_nobody_is_refused(tenant: Tenant, daicho: CliRunner) -> None:
    code, output = await _invoke(daicho, tenant, "gc", "--grace", "0.5")
    assert (code, "0.5 is not in the range x>=2.0" in output) == (2, True), output
